"""torch.compile in place, part by part: names of parameters stay, the engine's calls stay."""

import inspect
import shutil

import torch
from torch import nn

from ...errors import UsageError

SHAPES = 256  # sizes and numbers of objects that one process may meet


def compile_parts(network: nn.Module) -> tuple[str, ...]:
    """In place: each part of the network is compiled when they first meet a shape. Returns what is active.

    Raises UsageError where no C++ compiler is at hand, before minutes are spent.
    """
    device = next(network.parameters()).device
    if device.type == "cpu" and not any(shutil.which(name) for name in ("c++", "g++", "clang++")):
        raise UsageError("runtime.variant=compiled needs a C++ compiler (g++ or clang++): install one, or use fast")
    parts = dict(network.named_children())
    # Beyond torch's own limit of 8, which four sizes or numbers of objects reach, it would go on uncompiled, silently.
    known = "recompile_limit" in inspect.signature(torch.compile).parameters
    for part in parts.values():
        part.compile(dynamic=False, **({"recompile_limit": SHAPES} if known else {}))
    return (f"compiled by torch.compile {torch.__version__}: {', '.join(parts)}",)
