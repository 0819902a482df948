"""Build the network from a checkpoint file: family and sizes are inferred from its entries."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from ..model import published_names  # noqa: F401  # imported to register the XMem family
from ..model.cutie import checkpoint  # noqa: F401  # imported to register the Cutie family
from ..model.family import FAMILIES
from .files import check_names, read_checkpoint
from .manifest import require_hash

AUTO = "auto"
PUBLISHED_FAMILY = "xmem"  # used for error messages about files that no family recognises


@dataclass(frozen=True)
class LoadedNetwork:
    """A network and its checkpoint file."""

    network: nn.Module
    path: Path
    sha256: str  # of the file
    metadata: dict[str, str]  # text stored in a safetensors file


def load_network(path: Path, family: str = AUTO) -> LoadedNetwork:
    """Load a checkpoint into a network on the CPU, in float32 and evaluation mode.

    The network is built on the meta device and then takes over the file's tensors without copying them.

    Args:
        path: A published checkpoint, or one of your own.
        family: A name in FAMILIES; `auto` recognises the family by the names of the entries.

    Raises:
        WeightsError: The file is missing, damaged, unsafe, or has missing, unexpected or misshapen entries (all named).
        UsageError: There is no such family.
    """
    file = read_checkpoint(path)
    require_hash(file.path, file.sha256)
    network = build_network(file.tensors, file.path, family)
    return LoadedNetwork(network, file.path, file.sha256, file.metadata)


def build_network(tensors: dict[str, Tensor], source: Path, family: str = AUTO) -> nn.Module:
    """Build the network of a state dict in published or own names.

    source: The file, for error messages. Raises the same errors as `load_network`.
    """
    if family == AUTO:
        family = next((name for name in FAMILIES.names() if FAMILIES[name].recognises(tensors)), PUBLISHED_FAMILY)
    kind = FAMILIES[family]
    tensors = kind.own_tensors(tensors)
    shapes = {name: tuple(value.shape) for name, value in tensors.items()}
    with torch.device("meta"), _SkipInit():
        network = kind.build(shapes)
    expected = {name: tuple(value.shape) for name, value in network.state_dict().items()}
    check_names(shapes, expected, source)
    network.load_state_dict(tensors, strict=True, assign=True)
    return network.eval()


class _SkipInit(TorchFunctionMode):
    """Skip torch.nn.init, whose results are discarded: it takes half the time of loading a small network."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if getattr(func, "__module__", "") == nn.init.__name__:
            return args[0] if args else kwargs["tensor"]
        return func(*args, **(kwargs or {}))
