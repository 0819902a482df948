"""The rows of the benchmark: baselines out of the plain network, and this project's variants."""

import copy
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from ...config import Precision, Variant
from ...engine.engine import Engine
from ...model.network import XMem
from ...model.prepared import Prepared
from ...runtime.backends.prepare import prepare
from ...runtime.precision import precision_context
from ...types import KeyFeatures
from .concatenated_memory import CatMemory
from .config import BASELINES, PLAIN_BF16


class PublishedEngine(Engine):
    """The frame loop over the memory of the published formulation."""

    # It has the verbs that the engine uses, and shares no code with what it is compared to.
    memory_class = CatMemory  # type: ignore[assignment]


@dataclass(frozen=True)
class Contender:
    """A way to run the network. active: what it does, in words."""

    name: str
    prepared: Prepared
    engine_class: type[Engine]

    @property
    def precision(self) -> Precision:
        return self.prepared.precision

    @property
    def active(self) -> tuple[str, ...]:
        return self.prepared.active


def make_contender(name: str, network: XMem, device: torch.device) -> Contender:
    """The contender of a name in config.VARIANTS. The network may be moved to other strides, its numbers stay."""
    kind, _, precision_name = name.partition("_")
    precision = Precision(precision_name)
    if name == PLAIN_BF16:
        return Contender(name, prepare_plain(network, device, torch.bfloat16, precision), PublishedEngine)
    if name in BASELINES:
        return Contender(name, prepare_published(network, device, precision), PublishedEngine)
    return Contender(name, prepare(network, device, precision, Variant(kind)), Engine)


def prepare_published(network: XMem, device: torch.device, precision: Precision) -> Prepared:
    """The network as it is written: contiguous, batch norm as it is, image features repeated for each object."""
    network = copy.deepcopy(network).to(device).to(memory_format=torch.contiguous_format).eval()
    words = "network as written, NCHW; every object on its own; dense affinity; memory grown by concatenation"
    active = (words,) if precision is Precision.fp32 else (words, f"autocast to {precision.value}")
    return Prepared(
        network.encode_key, network.encode_value, network.segment, network.sizes, device,
        precision, Variant.eager, partial(precision_context, precision, device), active,
    )  # fmt: skip


def prepare_plain(network: XMem, device: torch.device, dtype: torch.dtype, precision: Precision) -> Prepared:
    """The whole network in half precision and channels last, with the casts that it needs to run; nothing else."""
    network = copy.deepcopy(network).to(device, dtype).to(memory_format=torch.channels_last).eval()

    def encode_key(image: Tensor) -> KeyFeatures:
        return network.encode_key(image.to(dtype, memory_format=torch.channels_last))

    def encode_value(
        image: Tensor, f16: Tensor, sensory: Tensor, masks: Tensor, deep_update: bool
    ) -> tuple[Tensor, Tensor]:
        image = image.to(dtype, memory_format=torch.channels_last)
        return network.encode_value(image, f16, sensory.to(dtype), masks.to(dtype), deep_update)

    def segment(
        features: KeyFeatures, readout: Tensor, sensory: Tensor, update_sensory: bool
    ) -> tuple[Tensor, Tensor, Tensor]:
        return network.segment(features, readout.to(dtype), sensory.to(dtype), update_sensory)

    active = (f"whole network in {precision.value}, channels last; memory as published",)
    context = partial(precision_context, Precision.fp32, device)
    return Prepared(encode_key, encode_value, segment, network.sizes, device, precision, Variant.eager, context, active)
