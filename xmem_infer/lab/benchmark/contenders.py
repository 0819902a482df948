"""The rows of the benchmark: baselines out of the plain network, and this project's variants."""

import copy
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from ...config import Precision
from ...model.family import ObjectState
from ...model.network import KeyFeatures, XMem
from ...runtime.backends.prepare import Prepared, prepare
from ...runtime.precision import precision_context
from .cat_memory import PUBLISHED_MEMORY
from .config import BASELINES, PLAIN_BF16


@dataclass(frozen=True)
class Contender:
    """A way to run the network. memory: its name in MEMORIES; active: what it does, in words."""

    name: str
    prepared: Prepared
    memory: str

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
        return Contender(name, prepare_plain(network, device, torch.bfloat16, precision), PUBLISHED_MEMORY)
    if name in BASELINES:
        return Contender(name, prepare_published(network, device, precision), PUBLISHED_MEMORY)
    return Contender(name, prepare(network, device, precision, kind), "xmem")


def prepare_published(network: XMem, device: torch.device, precision: Precision) -> Prepared:
    """The network as it is written: contiguous, batch norm as it is, image features repeated for each object."""
    network = copy.deepcopy(network).to(device).to(memory_format=torch.contiguous_format).eval()
    words = "network as written, NCHW; every object on its own; dense affinity; memory grown by concatenation"
    active = (words,) if precision is Precision.fp32 else (words, f"autocast to {precision.value}")
    return Prepared(network, device, precision, "eager", partial(precision_context, precision, device), active)


def prepare_plain(network: XMem, device: torch.device, dtype: torch.dtype, precision: Precision) -> Prepared:
    """The whole network in half precision and channels last, with the casts that it needs to run; nothing else."""
    network = copy.deepcopy(network).to(device, dtype).to(memory_format=torch.channels_last).eval()
    active = (f"whole network in {precision.value}, channels last; memory as published",)
    context = partial(precision_context, Precision.fp32, device)
    return Prepared(PlainNetwork(network, dtype), device, precision, "eager", context, active)


class PlainNetwork:
    """A network's verbs with every input cast to its dtype."""

    def __init__(self, network: XMem, dtype: torch.dtype):
        self.network, self.dtype = network, dtype
        self.empty_state = network.empty_state

    def encode_image(self, image: Tensor) -> KeyFeatures:
        """As `XMem.encode_image`."""
        return self.network.encode_image(image.to(self.dtype, memory_format=torch.channels_last))

    def encode_memory(
        self, image: Tensor, features: KeyFeatures, state: ObjectState, masks: Tensor, deep_update: bool
    ) -> tuple[Tensor, ObjectState]:
        """As `XMem.encode_memory`."""
        image = image.to(self.dtype, memory_format=torch.channels_last)
        return self.network.encode_memory(image, features, self._cast(state), masks.to(self.dtype), deep_update)

    def segment(
        self, features: KeyFeatures, readouts: list[Tensor], state: ObjectState, update_state: bool
    ) -> tuple[ObjectState, Tensor, Tensor]:
        """As `XMem.segment`."""
        reads = [read.to(self.dtype) for read in readouts]
        return self.network.segment(features, reads, self._cast(state), update_state)

    def _cast(self, state: ObjectState) -> ObjectState:
        return {name: x.to(self.dtype) for name, x in state.items()}
