"""From a network to one that is ready to run. Speed is applied here, not written into the model."""

import copy
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
from ..precision import HALF, check_precision, precision_context
from .compile_parts import compile_parts
from .fold_batch_norm import fold_batch_norm
from .half_weights import hold_weights_in
from .int8 import Int8, int8_maker
from .join_projections import join_projections
from .onednn_fusion import fuse_convolutions
from .openvino_verbs import OpenVinoVerbs, models_folder, openvino_version
from .share_image_features import share_image_features
from .single_channel_conv import replace_single_channel_convs

CHANNELS_LAST = "channels last"


@dataclass(frozen=True)
class Prepared:
    """A network ready to run.

    Attributes:
        network: Its verbs, whatever makes them fast.
        device: Where its inputs must lie.
        precision: What it computes in.
        backend: Name of the backend that made it.
        context: Entered around a frame's work.
        active: What makes it fast, in words.
    """

    network: Network
    device: torch.device
    precision: Precision
    backend: str
    context: Callable[[], AbstractContextManager[None]]
    active: tuple[str, ...]


Backend = Callable[[Any, torch.device, Precision], tuple[Network, tuple[str, ...], bool]]
"""Takes a network on the device, channels last, in evaluation mode, and leaves it as it is.

Returns the verbs, what is active in words, and whether autocast brings the precision about.
"""

BACKENDS: Registry[Backend] = Registry("backend", "runtime.variant")


def prepare(
    network: nn.Module,
    device: torch.device | str,
    precision: Precision | str = Precision.fp32,
    backend: str = "eager",
    objects_at_once: int = 8,
) -> Prepared:
    """Make a network ready to run.

    Args:
        network: Moved to the device and to channels last, in evaluation mode; its numbers stay.
        device: Where to run.
        precision: Not `auto`.
        backend: A name in BACKENDS.
        objects_at_once: More objects are processed in chunks.

    Raises:
        UsageError: The device lacks the precision, this machine cannot compile, a weight is not finite, or there is
            no such backend.
    """
    make = BACKENDS[backend]
    device, precision = torch.device(device), choice(Precision, precision, "precision")
    check_precision(precision, device)
    check_backend(backend, precision)
    # oneDNN is up to twice as fast channels last, and tensor cores want it.
    network = network.to(device).to(memory_format=torch.channels_last).eval()
    ready, active, autocast = make(network, device, precision)
    ready.process_in_chunks(objects_at_once)  # type: ignore[attr-defined]  # what backends rework is preparable
    context = partial(precision_context, precision, device, autocast=autocast)
    return Prepared(ready, device, precision, backend, context, (CHANNELS_LAST, *active))


@BACKENDS.register("eager")
def eager(network: Any, device: torch.device, precision: Precision) -> tuple[Network, tuple[str, ...], bool]:
    """The network as it is written; half precision by autocast, as published."""
    own = copy.copy(network)
    own._modules = dict(network._modules)  # the caller's own keeps its parts
    return own, (f"autocast to {precision.value}",) if precision in HALF else (), True


@BACKENDS.register("fast")
def fast(network: Any, device: torch.device, precision: Precision) -> tuple[Network, tuple[str, ...], bool]:
    """Folded, shared between objects, weights in the precision itself. For gradients off: nothing is recorded."""
    network, active = _rewritten(network, precision)
    if device.type == "cpu":
        replace_single_channel_convs(network)
        active += ("logits from inner products",)
        # A fused relu makes 0 of NaN: in float16, which overflows, a fault would go unseen.
        if precision is not Precision.fp16 and fuse_convolutions(network):
            active += ("oneDNN convolutions with fused sums and relus, weights laid out once",)
    return network, active, False


@BACKENDS.register("compiled")
def compiled(network: Any, device: torch.device, precision: Precision) -> tuple[Network, tuple[str, ...], bool]:
    """`fast`, its parts through torch.compile: the first frames of a size and number of objects take minutes."""
    network, active = _rewritten(network, precision)
    return network, active + compile_parts(network), False


@BACKENDS.register("openvino")
def openvino(network: Any, device: torch.device, precision: Precision) -> tuple[Network, tuple[str, ...], bool]:
    """`fast`'s network compiled by OpenVINO on the CPU in float32 or int8; see `openvino_verbs` and `int8`."""
    check_openvino(device, precision)
    rewritten, active = _rewritten(network, precision)
    active += (f"verbs compiled by OpenVINO {openvino_version()}",)
    if precision is not Precision.int8:
        return OpenVinoVerbs(rewritten, models_folder(network)), active, False
    maker = int8_maker() or ""
    int8 = Int8(rewritten, models_folder(network, maker))
    return OpenVinoVerbs(rewritten, models_folder(network), int8), (*active, f"int8 by {maker}"), False


def check_backend(backend: str, precision: Precision) -> None:
    """Refuse int8 in a backend that has none. Raises UsageError."""
    if precision is Precision.int8 and backend != "openvino":
        raise UsageError(f"runtime.precision=int8 needs runtime.variant=openvino, not {backend}")


def check_openvino(device: torch.device, precision: Precision) -> None:
    """Refuse what the backend `openvino` cannot do here.

    Raises:
        UsageError: It is not installed, or for another device or precision.
    """
    if openvino_version() is None:
        raise UsageError(
            "runtime.variant=openvino: OpenVINO is not installed; pip install 'xmem-infer[cpu]', or use fast"
        )
    if precision is Precision.int8 and int8_maker() is None:
        raise UsageError(
            "runtime.precision=int8: NNCF is not installed; pip install 'xmem-infer[int8]', or use another precision"
        )
    if device.type != "cpu" or precision not in (Precision.fp32, Precision.int8, Precision.auto):
        raise UsageError(
            f"runtime.variant=openvino computes in fp32 or int8 on the CPU, not in {precision.value} on {device.type}: "
            "use fast"
        )


def _rewritten(network: Any, precision: Precision) -> tuple[Any, tuple[str, ...]]:
    for name, parameter in network.named_parameters():
        if not isfinite(parameter.detach().sum(dtype=torch.float64).item()):
            raise UsageError(f"the network's {name} holds NaN or infinity: no mask is better than a wrong one")
    network = copy.deepcopy(network).requires_grad_(False)
    fold_batch_norm(network)
    share_image_features(network)
    join_projections(network)
    active: tuple[str, ...] = (
        "batch norm folded",
        "image features convolved once for all objects",
        "key, shrinkage and selection from one convolution",
    )
    if precision in HALF:
        hold_weights_in(network, HALF[precision])
        active += (f"weights held in {precision.value}, keys and logits in fp32",)
    return network.to(memory_format=torch.channels_last), active
