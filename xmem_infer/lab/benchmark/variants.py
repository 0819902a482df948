"""The rows of the benchmark: the published formulation, and every backend that is registered."""

import copy
from dataclasses import dataclass
from functools import partial
from math import inf
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map

from ...config import MemoryConfig, Precision
from ...errors import UsageError
from ...runtime.backends.int8 import VERBS
from ...runtime.backends.openvino_verbs import openvino_version
from ...runtime.backends.prepare import BACKENDS, Prepared, prepare
from ...runtime.precision import HALF, precision_context
from .concatenated_memory import CONCATENATED

PUBLISHED, PLAIN = "published", "plain"
PUBLISHED_FP32 = "published_fp32"
BASELINES = (PUBLISHED_FP32, "published_bf16", "plain_bf16")
PRECISIONS = (Precision.fp32, Precision.bf16)
OPENVINO, INT8 = "openvino", "openvino_int8"
HIDDEN = ("compiled", OPENVINO)  # compiled code hides its operations: it computes what `fast` does
ON_REQUEST = ("compiled_fp32", "compiled_bf16", INT8)  # compiling and quantising take minutes per workload


@dataclass(frozen=True)
class Variant:
    """A way to run the network.

    Attributes:
        name: `<backend>_<precision>`, or one of BASELINES.
        prepared: The network, ready to run.
        memory: Name of its memory in MEMORIES.
    """

    name: str
    prepared: Prepared
    memory: str


def variant_names() -> list[str]:
    """Every variant that there is, baselines first, then the backends in the order of their registration."""
    precisions = {OPENVINO: (Precision.fp32, Precision.int8)}
    rows = [f"{name}_{one.value}" for name in BACKENDS.names() for one in precisions.get(name, PRECISIONS)]
    return [*BASELINES, *rows]


def default_variants() -> list[str]:
    """The variants that are measured where none are named: those that are installed and compile in seconds."""
    left_out = ON_REQUEST if openvino_version() else (*ON_REQUEST, f"{OPENVINO}_fp32")
    return [name for name in variant_names() if name not in left_out]


def check_variants(names: list[str], key: str, baselines: bool = True) -> None:
    """Refuse variants that do not exist.

    Raises:
        UsageError: With the setting and the variants that there are.
    """
    choices = [name for name in variant_names() if baselines or name not in BASELINES]
    for name in names:
        if name not in choices:
            raise UsageError(f"{key}={name}: it must be one of {', '.join(choices)}")


def split_name(variant: str) -> tuple[str, Precision]:
    """Kind (a backend, `published` or `plain`) and precision of a variant's name."""
    kind, _, precision = variant.rpartition("_")
    return kind, Precision(precision)


def make_variant(name: str, network: nn.Module, device: torch.device) -> Variant:
    """The variant of a name. The network may be moved to another memory format, its numbers stay."""
    kind, precision = split_name(name)
    if kind in (PUBLISHED, PLAIN):
        make = prepare_published if kind == PUBLISHED else prepare_plain
        return Variant(name, make(network, device, precision), CONCATENATED)
    prepared = prepare(network, device, precision, kind)
    if precision is Precision.int8:
        # The scene is drawn and most networks are random: whether masks agree says nothing, and nobody is to use them.
        int8: Any = prepared.network.int8  # type: ignore[attr-defined]
        int8.limits, int8.folder = dict.fromkeys(VERBS, inf), int8.folder / "benchmark"
    return Variant(name, prepared, MemoryConfig().kind)


def prepare_published(network: nn.Module, device: torch.device, precision: Precision) -> Prepared:
    """The network as it is written: contiguous, batch norm as it is, image features repeated for each object."""
    own: Any = copy.deepcopy(network).to(device).to(memory_format=torch.contiguous_format).eval()
    what = "network as written, NCHW; every object on its own; dense affinity; memory grown by concatenation"
    active = (what,) if precision is Precision.fp32 else (what, f"autocast to {precision.value}")
    return Prepared(own, device, precision, PUBLISHED, partial(precision_context, precision, device), active)


def prepare_plain(network: nn.Module, device: torch.device, precision: Precision) -> Prepared:
    """The whole network in half precision and channels last, with the casts that it needs to run; nothing else."""
    dtype = HALF[precision]
    own: Any = copy.deepcopy(network).to(device, dtype).to(memory_format=torch.channels_last).eval()

    def cast(x: Any) -> Any:
        return x.to(dtype) if isinstance(x, Tensor) else x

    def laid_out(image: Tensor) -> Tensor:
        return image.to(dtype, memory_format=torch.channels_last)

    inputs_cast: Any = SimpleNamespace(
        conventions=own.conventions,
        empty_state=own.empty_state,
        encode_image=lambda image: own.encode_image(laid_out(image)),
        encode_memory=lambda image, *others: own.encode_memory(laid_out(image), *tree_map(cast, others)),
        segment=lambda *inputs: own.segment(*tree_map(cast, inputs)),
    )
    active = (f"whole network in {precision.value}, channels last; memory as published",)
    context = partial(precision_context, Precision.fp32, device)
    return Prepared(inputs_cast, device, precision, PLAIN, context, active)
