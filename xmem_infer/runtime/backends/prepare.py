"""From a network to the three callables the engine uses. Speed is applied here, not written into the model."""

import copy
from collections.abc import Callable
from functools import partial
from math import isfinite

import torch
from torch import Tensor

from ...config import Precision, Variant
from ...errors import UsageError
from ...model.network import XMem
from ...model.prepared import Prepared
from ...types import KeyFeatures
from ..precision import HALF, check_precision, precision_context
from .compile_parts import compile_parts
from .fold_batch_norm import fold_batch_norm
from .half_weights import hold_in
from .join_projections import join_projections
from .object_chunks import take_turns
from .onednn_fusion import fuse_blocks
from .share_image_features import share_image_features
from .single_channel_conv import predict_by_products

CHANNELS_LAST = "channels last"


def prepare(
    network: XMem,
    device: torch.device,
    precision: Precision = Precision.fp32,
    variant: Variant = Variant.eager,
    objects_at_once: int = 8,
) -> Prepared:
    """Make the network ready to run on a device, in a precision and a variant (neither of them `auto`).

    The network given is moved to the device and to channels last, in evaluation mode; its numbers stay. Raises
    UsageError where the device lacks the precision, this machine cannot compile, or a weight is not finite.
    """
    check_precision(precision, device)
    # oneDNN is up to twice as fast channels last, and tensor cores want it.
    network = network.to(device).to(memory_format=torch.channels_last).eval()
    return MAKERS[variant](network, device, precision, objects_at_once)


def eager(network: XMem, device: torch.device, precision: Precision, objects_at_once: int) -> Prepared:
    """The network as it is written; half precision by autocast, as published."""
    network = copy.copy(network)
    network._modules = dict(network._modules)  # the caller's own keeps its parts
    take_turns(network, objects_at_once)
    active = (CHANNELS_LAST, *([f"autocast to {precision.value}"] if precision in HALF else []))
    return Prepared(
        network.encode_key, network.encode_value, network.segment, network.sizes, device,
        precision, Variant.eager, partial(precision_context, precision, device), active,
    )  # fmt: skip


def fast(network: XMem, device: torch.device, precision: Precision, objects_at_once: int) -> Prepared:
    """Folded, shared between objects, weights in the precision itself. For gradients off: nothing is recorded."""
    network, active = _reworked(network, precision)
    if device.type == "cpu":
        predict_by_products(network)
        active += ("logits from inner products",)
    # In float32 arithmetic hides the passes over memory that this saves. A fused relu makes 0 of NaN: in float16, which
    # overflows, a fault would go unseen.
    if device.type == "cpu" and precision is Precision.bf16 and fuse_blocks(network):
        active += ("oneDNN convolutions with fused sums and relus, weights laid out once",)
    take_turns(network, objects_at_once)
    return _without_autocast(network, device, precision, Variant.fast, active)


def compiled(network: XMem, device: torch.device, precision: Precision, objects_at_once: int) -> Prepared:
    """`fast`, its parts through torch.compile: the first frames of a size and number of objects take minutes."""
    network, active = _reworked(network, precision)
    active += compile_parts(network)
    take_turns(network, objects_at_once)
    return _without_autocast(network, device, precision, Variant.compiled, active)


MAKERS: dict[Variant, Callable[[XMem, torch.device, Precision, int], Prepared]] = {
    Variant.eager: eager,
    Variant.fast: fast,
    Variant.compiled: compiled,
}


def _reworked(network: XMem, precision: Precision) -> tuple[XMem, tuple[str, ...]]:
    for name, parameter in network.named_parameters():
        if not isfinite(parameter.detach().sum(dtype=torch.float64).item()):
            raise UsageError(f"the network's {name} holds NaN or infinity: no mask is better than a wrong one")
    network = copy.deepcopy(network).requires_grad_(False)
    fold_batch_norm(network)
    share_image_features(network)
    join_projections(network)
    active: tuple[str, ...] = (
        CHANNELS_LAST,
        "batch norm folded",
        "image features convolved once for all objects",
        "key, shrinkage and selection from one convolution",
    )
    if precision in HALF:
        hold_in(network, HALF[precision])
        active += (f"weights held in {precision.value}, keys and logits in fp32",)
    return network.to(memory_format=torch.channels_last), active


def _without_autocast(
    network: XMem, device: torch.device, precision: Precision, variant: Variant, active: tuple[str, ...]
) -> Prepared:
    dtype = HALF.get(precision, torch.float32)

    def encode_key(image: Tensor) -> KeyFeatures:
        return network.encode_key(image.to(dtype, memory_format=torch.channels_last))

    def encode_value(
        image: Tensor, f16: Tensor, sensory: Tensor, masks: Tensor, deep_update: bool
    ) -> tuple[Tensor, Tensor]:
        return network.encode_value(image, f16, sensory, masks, deep_update)

    def segment(
        features: KeyFeatures, readout: Tensor, sensory: Tensor, update_sensory: bool
    ) -> tuple[Tensor, Tensor, Tensor]:
        return network.segment(features, readout.to(dtype), sensory, update_sensory)

    context = partial(precision_context, precision, device, autocast=False)
    return Prepared(encode_key, encode_value, segment, network.sizes, device, precision, variant, context, active)
