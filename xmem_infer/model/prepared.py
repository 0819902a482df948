"""The seam between the network and those who call it: three verbs, whatever makes them fast."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from ..types import KeyFeatures
from .sizes import NetworkSizes


@dataclass(frozen=True)
class Prepared:
    """A network ready to run: XMem's verbs (see `XMem`), its sizes, where its inputs must lie."""

    encode_key: Callable[[Tensor], KeyFeatures]
    encode_value: Callable[[Tensor, Tensor, Tensor, Tensor, bool], tuple[Tensor, Tensor]]
    segment: Callable[[KeyFeatures, Tensor, Tensor, bool], tuple[Tensor, Tensor, Tensor]]
    sizes: NetworkSizes
    device: torch.device
