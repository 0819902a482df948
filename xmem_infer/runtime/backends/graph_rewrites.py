"""Rewrites of a network that keep its results up to rounding: each replaces modules by faster ones, in place."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from ...model.blocks import JointConv2d, at_least_float32, per_object
from ...model.network import KeyProjection

MIN_CHANNELS = 8  # with this many input channels or fewer, `inner_products` gains nothing


def replace_modules(network: nn.Module, kinds: Mapping[type[nn.Module], Callable[[Any], nn.Module]]) -> None:
    """Replace every module whose type is in `kinds` by the result of the function given there."""
    for module in list(network.modules()):
        for name, child in module.named_children():
            if type(child) in kinds:
                setattr(module, name, kinds[type(child)](child))


def convolution_like(conv: nn.Conv2d, weight: Tensor, bias: Tensor | None) -> nn.Conv2d:
    """Return a plain convolution like `conv` with a copy of other weights, which need no gradients."""
    # On the meta device, because initialising weights would advance the caller's random number generator.
    made = nn.Conv2d(weight.shape[1], weight.shape[0], 1, bias=bias is not None, device="meta")
    made.kernel_size, made.stride, made.padding = conv.kernel_size, conv.stride, conv.padding
    made.weight = nn.Parameter(weight.detach().clone(), requires_grad=False)
    made.bias = None if bias is None else nn.Parameter(bias.detach().clone(), requires_grad=False)
    return made


def fold_batch_norm(network: nn.Module) -> None:
    """Fold each batch norm into the preceding convolution: in evaluation mode the two are a single affine map."""
    for module in list(network.modules()):
        if isinstance(module, nn.Sequential):
            pairs = [(str(i), str(i + 1)) for i in range(len(module) - 1)]
        else:
            pairs = [(name, name.replace("conv", "bn")) for name, _ in module.named_children() if "conv" in name]
        for conv_name, norm_name in pairs:
            conv, norm = getattr(module, conv_name), getattr(module, norm_name, None)
            if isinstance(conv, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
                setattr(module, conv_name, fuse_conv_bn_eval(conv, norm))
                setattr(module, norm_name, nn.Identity())


class SharedConv2d(nn.Module):
    """Two convolutions that compute the same as a `JointConv2d`, up to the order of rounding.

    A convolution is linear in its input channels: conv(cat(a, b)) = conv_a(a) + conv_b(b), and conv_a(a) is the same
    for every object. The image's part is 1024 of 1600 channels in the decoder's fusion, 1024 of 1280 in the value
    encoder's fusion, and 3 of 5 in the value encoder's stem.
    """

    def __init__(self, joint: JointConv2d):
        super().__init__()
        shared = joint.shared_channels
        self.shared = convolution_like(joint, joint.weight[:, :shared], joint.bias)
        self.own = convolution_like(joint, joint.weight[:, shared:], None)

    def forward(self, shared: Tensor, own: Tensor) -> Tensor:
        once, each = self.shared(shared), self.own(own)
        # Broadcasting over an additional dimension would lose the channels-last layout and slow down later layers
        # several times.
        return each + (once if len(once) == 1 else per_object(once, len(each) // len(once)))


class JoinedProjection(nn.Module):
    """A `KeyProjection` in one convolution: alone, shrinkage's single channel takes as long as 64."""

    def __init__(self, plain: KeyProjection):
        super().__init__()
        parts = (plain.key, plain.shrinkage, plain.selection)
        self.channels = [part.out_channels for part in parts]
        bias = torch.cat([part.bias for part in parts if part.bias is not None])
        self.conv = convolution_like(plain.key, torch.cat([part.weight for part in parts]), bias)

    def forward(self, f16: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        key, shrinkage, selection = at_least_float32(self.conv(f16)).split(self.channels, 1)
        return key, shrinkage.square() + 1, selection.sigmoid()


SHARED_OR_JOINED = {JointConv2d: SharedConv2d, KeyProjection: JoinedProjection}


def inner_products(conv: nn.Conv2d) -> nn.Sequential:
    """Return a same-size convolution to one channel in two steps: a channel of inner products per tap, and their sum.

    The sum is a convolution whose weight is 1 where a channel belongs to the tap, else 0. This is several times as fast
    as oneDNN's convolution, which is designed for many output channels.
    """
    taps = conv.weight.detach()[0].flatten(1).T[:, :, None, None]  # (taps, C, 1, 1)
    products = convolution_like(conv, taps, None)
    products.kernel_size, products.padding = (1, 1), (0, 0)
    one_hot = torch.eye(len(taps), dtype=taps.dtype, device=taps.device).view(1, len(taps), *conv.kernel_size)
    return nn.Sequential(products, convolution_like(conv, one_hot, conv.bias))


def faster_convolution(conv: nn.Conv2d) -> nn.Module:
    """Return `inner_products` of a 3x3 convolution from many channels to one, and other convolutions unchanged."""
    is_slow = conv.out_channels == 1 and conv.in_channels > MIN_CHANNELS
    return inner_products(conv) if is_slow and conv.kernel_size == (3, 3) and conv.stride == (1, 1) else conv


def hold_weights_in(network: Any, dtype: torch.dtype) -> None:
    """Store weights in half precision, except for `float32_parts`, and cast inputs at `cast_points`.

    Autocast decides for each operation and casts weights on every call. Here each layer computes in the dtype of its
    weights. Similarity, softmax, aggregation and recurrent state are always float32.
    """
    for parameter in network.parameters():  # buffers keep their dtype: they are constants that need their precision
        parameter.data = parameter.data.to(dtype)
    for part in network.float32_parts():
        part.float()
    for point in network.cast_points():
        point.register_forward_pre_hook(partial(_cast, next(point.parameters()).dtype))


def _cast(dtype: torch.dtype, _: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
    # Images arrive channels first, and oneDNN's fused convolutions compute in the layout of their input.
    def cast(x: Tensor) -> Tensor:
        return x.to(dtype, memory_format=torch.channels_last if x.ndim == 4 else torch.preserve_format)

    return tuple(cast(x) if isinstance(x, Tensor) else x for x in inputs)
