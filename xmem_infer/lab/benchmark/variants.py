"""The variants that the benchmark compares: the published formulation, and every registered backend."""

import copy
from dataclasses import dataclass
from functools import partial
from math import inf
from typing import Any

import torch
from torch import nn

from ...config import MemoryConfig, Precision
from ...errors import UsageError
from ...runtime.backends.differences import VERBS
from ...runtime.backends.openvino_cache import openvino_version
from ...runtime.backends.prepare import BACKENDS, OPENVINO_PRECISIONS, Prepared, check_backend, prepare
from ...runtime.precision import precision_context, x86_has_bf16
from .concatenated_memory import CONCATENATED

CPU = torch.device("cpu")
PUBLISHED = "published"
PUBLISHED_FP32 = "published_fp32"
BASELINES = (PUBLISHED_FP32, "published_bf16")
PRECISIONS = (Precision.fp32, Precision.bf16)
OPENVINO, INT8 = "openvino", "openvino_int8"
OPAQUE = ("compiled", OPENVINO)  # operations of compiled code cannot be counted: those of `fast` are used
ON_REQUEST = ("compiled_fp32", "compiled_bf16", INT8)  # compiling and quantising take minutes per workload


@dataclass(frozen=True)
class Variant:
    """A network prepared in one way to be measured."""

    name: str  # <backend>_<precision>, or one of BASELINES
    prepared: Prepared
    memory: str  # its name in MEMORIES


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
            check_backend(*split_name(name), CPU)


def split_name(variant: str) -> tuple[str, Precision]:
    """Split a variant's name into its kind (a backend or `published`) and its precision."""
    kind, _, precision = variant.rpartition("_")
    return kind, Precision(precision)


def make_variant(name: str, network: nn.Module) -> Variant:
    """Build a variant by name. The memory format of `network` may change, its values do not."""
    kind, precision = split_name(name)
    if kind == PUBLISHED:
        return Variant(name, prepare_published(network, precision), CONCATENATED)
    prepared = prepare(network, CPU, precision, kind)
    if kind == OPENVINO:
        # The scene is synthetic and most networks are random, so whether masks agree with fp32 means nothing.
        verbs: Any = prepared.network
        verbs.limits = dict.fromkeys(VERBS, inf)
        if precision is Precision.int8:
            # A cache folder of its own keeps these models away from users.
            verbs.int8.limits, verbs.int8.folder = verbs.limits, verbs.int8.folder / "benchmark"
    return Variant(name, prepared, MemoryConfig().kind)


def prepare_published(network: nn.Module, precision: Precision) -> Prepared:
    """Prepare the network as it is written: contiguous, batch norm not folded, image features repeated per object."""
    own: Any = copy.deepcopy(network).to(memory_format=torch.contiguous_format).eval()
    what = "network as written, NCHW; every object on its own; dense affinity; memory grown by concatenation"
    active = (what,) if precision is Precision.fp32 else (what, f"autocast to {precision.value}")
    return Prepared(own, CPU, precision, PUBLISHED, partial(precision_context, precision, CPU), active)
