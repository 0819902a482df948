"""Apply torch.compile to each part of a network in place, so that parameter names and calls stay the same."""

import inspect
import shutil

import torch
from torch import nn

from ...errors import UsageError

SHAPES = 256  # combinations of frame size and number of objects that one process may compile


def compile_parts(network: nn.Module) -> tuple[str, ...]:
    """Mark each part of the network for compilation on its first call with a new shape; return a description.

    Raises:
        UsageError: On the CPU, no C++ compiler was found. Checked first, because compiling takes minutes.
    """
    device = next(network.parameters()).device
    if device.type == "cpu" and not any(shutil.which(name) for name in ("c++", "g++", "clang++")):
        raise UsageError("runtime.variant=compiled needs a C++ compiler (g++ or clang++): install one, or use fast")
    parts = dict(network.named_children())
    # torch silently runs uncompiled beyond its default limit of 8, which four sizes or numbers of objects reach.
    has_limit = "recompile_limit" in inspect.signature(torch.compile).parameters
    for part in parts.values():
        part.compile(dynamic=False, **({"recompile_limit": SHAPES} if has_limit else {}))
    return (f"compiled by torch.compile {torch.__version__}: {', '.join(parts)}",)
