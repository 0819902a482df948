"""Prepare a network for running: backends make it fast from outside, so that the model itself stays plain."""

import copy
import inspect
import shutil
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from math import isfinite
from typing import Any

import torch
from torch import nn

from ...config import Precision, choice
from ...errors import UsageError
from ...model.family import Network
from ...registry import Registry
from ..precision import HALF, check_precision, precision_context, x86_has_bf16
from .graph_rewrites import SHARED_OR_JOINED, faster_convolution, fold_batch_norm, hold_weights_in, replace_modules
from .int8 import Int8, int8_toolchain
from .onednn_fusion import fuse_convolutions
from .openvino_cache import models_folder, openvino_version
from .openvino_verbs import OpenVinoVerbs
from .winograd import has_winograd_convolutions

OPENVINO_PRECISIONS = (Precision.fp32, Precision.bf16)  # without quantisation
SHAPES = 256  # combinations of frame size and number of objects that torch.compile may compile in one process


@dataclass(frozen=True)
class Prepared:
    """A network that is ready to run."""

    network: Network  # as the backend prepared it
    device: torch.device  # that its inputs must be on
    precision: Precision  # in which it computes
    backend: str  # name of the backend that prepared it
    context: Callable[[], AbstractContextManager[None]]  # to enter around the computation of each frame
    active: tuple[str, ...]  # descriptions of the optimisations in use


Backend = Callable[[Any, torch.device, Precision], tuple[Network, tuple[str, ...], bool]]
"""Prepares a network that is on the device, channels last and in evaluation mode, without modifying it.

Returns the prepared network, descriptions of the optimisations in use, and whether the precision needs autocast.
"""

BACKENDS: Registry[Backend] = Registry("backend", "runtime.variant")


def prepare(
    network: nn.Module,
    device: torch.device | str,
    precision: Precision | str = Precision.fp32,
    backend: str = "eager",
    objects_at_once: int = 8,
) -> Prepared:
    """Prepare a network to run on a device in a precision.

    Args:
        network: The network; moved to the device, to channels last and to evaluation mode. Its weights are unchanged.
        device: Device to run on.
        precision: Any precision but `auto`.
        backend: A name in BACKENDS.
        objects_at_once: Maximum number of objects processed at once; more are processed in chunks.

    Raises:
        UsageError: There is no such backend, the device or the backend does not support the precision, this machine
            cannot compile, or a weight is not finite.
    """
    make = BACKENDS[backend]
    device, precision = torch.device(device), choice(Precision, precision, "precision")
    check_precision(precision, device)
    check_backend(backend, precision, device)
    # oneDNN is up to twice as fast with channels last, and tensor cores need that layout.
    network = network.to(device).to(memory_format=torch.channels_last).eval()
    ready, active, autocast = make(network, device, precision)
    ready.process_in_chunks(objects_at_once)  # type: ignore[attr-defined]  # see `PreparableNetwork`
    context = partial(precision_context, precision, device, autocast=autocast)
    return Prepared(ready, device, precision, backend, context, ("channels last", *active))


@BACKENDS.register("eager")
def eager(network: Any, device: torch.device, precision: Precision) -> tuple[Network, tuple[str, ...], bool]:
    """Run the network unchanged, with half precision by autocast, as published."""
    own = copy.copy(network)
    own._modules = dict(network._modules)  # so that replacing a module here leaves the caller's network alone
    return own, (f"autocast to {precision.value}",) if precision in HALF else (), True


@BACKENDS.register("fast")
def fast(network: Any, device: torch.device, precision: Precision) -> tuple[Network, tuple[str, ...], bool]:
    """Rewrite the graph. Weights record no gradients and are in `precision` itself."""
    network, active = _rewritten(network, precision)
    if device.type == "cpu":
        winograd = has_winograd_convolutions(network)
        # A fused ReLU turns NaN into 0, which would hide overflows in float16.
        if precision is not Precision.fp16 and fuse_convolutions(network):
            active += ("oneDNN convolutions with fused sums and relus, weights laid out once",)
            if winograd:
                active += ("large convolutions by Winograd's algorithm in NNPACK",)
    return network, active, False


@BACKENDS.register("compiled")
def compiled(network: Any, device: torch.device, precision: Precision) -> tuple[Network, tuple[str, ...], bool]:
    """Rewrite the graph and apply torch.compile: the first frames of each size and number of objects take minutes."""
    if device.type == "cpu" and not any(shutil.which(name) for name in ("c++", "g++", "clang++")):
        raise UsageError("runtime.variant=compiled needs a C++ compiler (g++ or clang++): install one, or use fast")
    network, active = _rewritten(network, precision)
    parts = dict(network.named_children())
    # torch silently runs uncompiled beyond its default limit of 8, which four sizes or numbers of objects reach.
    has_limit = "recompile_limit" in inspect.signature(torch.compile).parameters
    for part in parts.values():  # in place, so that parameter names and calls stay the same
        part.compile(dynamic=False, **({"recompile_limit": SHAPES} if has_limit else {}))
    return network, (*active, f"compiled by torch.compile {torch.__version__}: {', '.join(parts)}"), False


@BACKENDS.register("openvino")
def openvino(network: Any, device: torch.device, precision: Precision) -> tuple[Network, tuple[str, ...], bool]:
    """Rewrite the graph and compile it by OpenVINO, on the CPU; see `openvino_verbs` and `int8`."""
    rewritten, active = _rewritten(network, Precision.fp32)
    active += (f"verbs compiled by OpenVINO {openvino_version()}",)
    if precision is not Precision.int8:
        return OpenVinoVerbs(rewritten, models_folder(network), precision is Precision.bf16), active, False
    toolchain = int8_toolchain() or ""
    bf16 = x86_has_bf16()
    int8 = Int8(rewritten, models_folder(network, toolchain), bf16)
    active += (f"int8 by {toolchain}", f"what is not quantised in {'bf16' if bf16 else 'fp32'}")
    return OpenVinoVerbs(rewritten, models_folder(network), int8=int8), active, False


def check_backend(backend: str, precision: Precision, device: torch.device) -> None:
    """Check that a backend supports int8, if that is the precision, and that `openvino` can run here.

    Raises:
        UsageError: OpenVINO, or NNCF for int8, is not installed, or the device or precision is not supported.
    """
    if backend != "openvino":
        if precision is Precision.int8:
            raise UsageError(f"runtime.precision=int8 needs runtime.variant=openvino, not {backend}")
        return
    if openvino_version() is None:
        raise UsageError(
            "runtime.variant=openvino: OpenVINO is not installed; pip install 'xmem-infer[cpu]', or use fast"
        )
    if precision is Precision.int8 and int8_toolchain() is None:
        raise UsageError(
            "runtime.precision=int8: NNCF is not installed; pip install 'xmem-infer[int8]', or use another precision"
        )
    if device.type != "cpu" or precision not in (*OPENVINO_PRECISIONS, Precision.int8, Precision.auto):
        raise UsageError(
            f"runtime.variant=openvino computes in fp32, bf16 or int8 on the CPU, not in {precision.value} on "
            f"{device.type}: use fast"
        )
    if precision is Precision.bf16 and not x86_has_bf16():
        raise UsageError(
            "runtime.variant=openvino: this CPU does not compute in bf16 (no AVX-512 bf16, no AMX); use fp32 or int8"
        )


def _rewritten(network: Any, precision: Precision) -> tuple[Any, tuple[str, ...]]:
    """Return a copy of the network with the rewrites that all compiled backends share, and their descriptions."""
    for name, parameter in network.named_parameters():
        if not isfinite(parameter.detach().sum(dtype=torch.float64).item()):
            raise UsageError(f"the network's {name} holds NaN or infinity: no mask is better than a wrong one")
    network = copy.deepcopy(network).requires_grad_(False)
    fold_batch_norm(network)
    replace_modules(network, SHARED_OR_JOINED)
    active: tuple[str, ...] = (
        "batch norm folded",
        "image features convolved once for all objects",
        "key, shrinkage and selection from one convolution",
    )
    if next(network.parameters()).device.type == "cpu":
        replace_modules(network, {nn.Conv2d: faster_convolution})
        active += ("logits from inner products",)
    if precision in HALF:
        hold_weights_in(network, HALF[precision])
        active += (f"weights held in {precision.value}, keys and logits in fp32",)
    return network.to(memory_format=torch.channels_last), active
