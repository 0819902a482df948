"""The seam between the network and those who call it: three verbs, whatever makes them fast."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass

import torch
from torch import Tensor

from ..config import Precision, Variant
from ..types import KeyFeatures
from .sizes import NetworkSizes


@dataclass(frozen=True)
class Prepared:
    """A network ready to run: XMem's verbs (see `XMem`), its sizes, where its inputs must lie.

    Inputs are float32 whatever the precision. context: entered around a frame's work. active: what makes
    this variant fast, in words.
    """

    encode_key: Callable[[Tensor], KeyFeatures]
    encode_value: Callable[[Tensor, Tensor, Tensor, Tensor, bool], tuple[Tensor, Tensor]]
    segment: Callable[[KeyFeatures, Tensor, Tensor, bool], tuple[Tensor, Tensor, Tensor]]
    sizes: NetworkSizes
    device: torch.device
    precision: Precision
    variant: Variant
    context: Callable[[], AbstractContextManager[None]]
    active: tuple[str, ...]
