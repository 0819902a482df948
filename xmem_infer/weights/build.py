"""From a checkpoint file to the network: sizes read off its shapes, nothing initialised twice."""

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from ..model.network import XMem
from ..model.sizes import NetworkSizes, sizes_of
from .files import check_names, read_checkpoint, verify_hash
from .names import from_published, is_published

_STEM = "value_encoder.trunk.conv1.weight"


@dataclass(frozen=True)
class LoadedNetwork:
    """The network with where it came from; metadata as stored in a safetensors file."""

    network: XMem
    path: Path
    sha256: str
    metadata: dict[str, str]


def load_network(path: Path) -> LoadedNetwork:
    """Read a published or own checkpoint into an XMem on the CPU, float32, in evaluation mode.

    WeightsError names what is wrong with the file: missing, damaged, unsafe, or every missing, unexpected
    and misshapen entry. The network is built on the meta device and takes the file's tensors as they are.
    """
    file = read_checkpoint(path)
    verify_hash(file)
    return LoadedNetwork(build_network(file.tensors, file.path), file.path, file.sha256, file.metadata)


def build_network(tensors: dict[str, Tensor], source: Path) -> XMem:
    """The network of a state dict in published or own names; `source` for messages."""
    if is_published(set(tensors)):
        tensors = {from_published(name): value for name, value in tensors.items()}
    tensors = {name: value.float() if value.is_floating_point() else value for name, value in tensors.items()}
    stem = tensors.get(_STEM)
    if stem is not None and stem.ndim == 4 and stem.shape[1] == 4:
        # A single-object checkpoint has no channel for the other objects' masks.
        tensors[_STEM] = torch.cat([stem, torch.zeros_like(stem[:, :1])], 1)
    shapes = {name: tuple(value.shape) for name, value in tensors.items()}
    try:
        sizes = sizes_of(shapes)
    except (KeyError, IndexError):
        sizes = NetworkSizes()  # too much is missing to tell: compare with the published network
    with torch.device("meta"):
        network = XMem(sizes)
    expected = {name: tuple(value.shape) for name, value in network.state_dict().items()}
    check_names(shapes, expected, source)
    network.load_state_dict(tensors, strict=True, assign=True)
    return network.eval()
