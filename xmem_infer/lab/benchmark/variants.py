"""The variants that the benchmark compares: the published formulation, and every registered backend."""

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
from ...runtime.backends.differences import VERBS
from ...runtime.backends.openvino_cache import openvino_version
from ...runtime.backends.prepare import BACKENDS, OPENVINO_PRECISIONS, Prepared, check_backend, prepare
from ...runtime.precision import HALF, precision_context, x86_has_bf16
from .concatenated_memory import CONCATENATED

PUBLISHED, PLAIN = "published", "plain"
PUBLISHED_FP32 = "published_fp32"
BASELINES = (PUBLISHED_FP32, "published_bf16", "plain_bf16")
PRECISIONS = (Precision.fp32, Precision.bf16)
OPENVINO, INT8 = "openvino", "openvino_int8"
OPAQUE = ("compiled", OPENVINO)  # operations of compiled code cannot be counted: those of `fast` are used
ON_REQUEST = ("compiled_fp32", "compiled_bf16", INT8)  # compiling and quantising take minutes per workload


@dataclass(frozen=True)
class Variant:
    """A network prepared in one way to be measured.

    Attributes:
        name: `<backend>_<precision>`, or one of BASELINES.
        prepared: The network, ready to run.
        memory: Name of its memory in MEMORIES.
    """

    name: str
    prepared: Prepared
    memory: str


def variant_names() -> list[str]:
    """Return the names of all variants, baselines first, then the backends in the order of registration."""
    precisions = {OPENVINO: (*OPENVINO_PRECISIONS, Precision.int8)}
    rows = [f"{name}_{one.value}" for name in BACKENDS.names() for one in precisions.get(name, PRECISIONS)]
    return [*BASELINES, *rows]


def default_variants() -> list[str]:
    """Return the variants measured by default: those that are installed and compile in seconds."""
    excluded = set(ON_REQUEST)
    if openvino_version() is None:
        excluded |= {f"{OPENVINO}_{one.value}" for one in OPENVINO_PRECISIONS}
    elif not x86_has_bf16():
        excluded.add(f"{OPENVINO}_bf16")
    return [name for name in variant_names() if name not in excluded]


def check_variants(names: list[str], key: str, baselines: bool = True) -> None:
    """Raise UsageError if a variant does not exist, with the setting and the choices, or cannot run here."""
    choices = [name for name in variant_names() if baselines or name not in BASELINES]
    for name in names:
        if name not in choices:
            raise UsageError(f"{key}={name}: it must be one of {', '.join(choices)}")
        if name not in BASELINES:
            check_backend(*split_name(name), torch.device("cpu"))


def split_name(variant: str) -> tuple[str, Precision]:
    """Split a variant's name into its kind (a backend, `published` or `plain`) and its precision."""
    kind, _, precision = variant.rpartition("_")
    return kind, Precision(precision)


def make_variant(name: str, network: nn.Module, device: torch.device) -> Variant:
    """Build a variant by name. The memory format of `network` may change, its values do not."""
    kind, precision = split_name(name)
    if kind in (PUBLISHED, PLAIN):
        make = prepare_published if kind == PUBLISHED else prepare_plain
        return Variant(name, make(network, device, precision), CONCATENATED)
    prepared = prepare(network, device, precision, kind)
    if kind == OPENVINO:
        # The scene is synthetic and most networks are random, so whether masks agree with fp32 means nothing.
        verbs: Any = prepared.network
        verbs.limits = dict.fromkeys(VERBS, inf)
        if precision is Precision.int8:
            # A cache folder of its own keeps these models away from users.
            verbs.int8.limits, verbs.int8.folder = verbs.limits, verbs.int8.folder / "benchmark"
    return Variant(name, prepared, MemoryConfig().kind)


def prepare_published(network: nn.Module, device: torch.device, precision: Precision) -> Prepared:
    """Prepare the network as it is written: contiguous, batch norm not folded, image features repeated per object."""
    own: Any = copy.deepcopy(network).to(device).to(memory_format=torch.contiguous_format).eval()
    what = "network as written, NCHW; every object on its own; dense affinity; memory grown by concatenation"
    active = (what,) if precision is Precision.fp32 else (what, f"autocast to {precision.value}")
    return Prepared(own, device, precision, PUBLISHED, partial(precision_context, precision, device), active)


def prepare_plain(network: nn.Module, device: torch.device, precision: Precision) -> Prepared:
    """Prepare the whole network in half precision and channels last with the casts that this needs, nothing else."""
    dtype = HALF[precision]
    own: Any = copy.deepcopy(network).to(device, dtype).to(memory_format=torch.channels_last).eval()

    def cast(x: Any) -> Any:
        return x.to(dtype) if isinstance(x, Tensor) else x

    def to_channels_last(image: Tensor) -> Tensor:
        return image.to(dtype, memory_format=torch.channels_last)

    inputs_cast: Any = SimpleNamespace(
        conventions=own.conventions,
        empty_state=own.empty_state,
        encode_image=lambda image: own.encode_image(to_channels_last(image)),
        encode_memory=lambda image, *others: own.encode_memory(to_channels_last(image), *tree_map(cast, others)),
        segment=lambda *inputs: own.segment(*tree_map(cast, inputs)),
    )
    active = (f"whole network in {precision.value}, channels last; memory as published",)
    context = partial(precision_context, Precision.fp32, device)
    return Prepared(inputs_cast, device, precision, PLAIN, context, active)
