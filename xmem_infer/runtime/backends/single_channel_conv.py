"""Convolution to one output channel, like the decoder's last layer, several times as fast as oneDNN's.

oneDNN's convolutions are designed for many output channels.
"""

import torch
from torch import nn

from .share_image_features import convolution_like

MIN_CHANNELS = 8  # with this many input channels or fewer there is nothing to gain


def inner_products(conv: nn.Conv2d) -> nn.Sequential:
    """Return a same-size convolution to one channel in two steps: a channel of inner products per tap, and their sum.

    The sum is a convolution whose weight is 1 where a channel belongs to the tap, else 0.
    """
    taps = conv.weight.detach()[0].flatten(1).T[:, :, None, None]  # (taps, C, 1, 1)
    products = convolution_like(conv, taps, None)
    products.kernel_size, products.padding = (1, 1), (0, 0)
    one_hot = torch.eye(len(taps), dtype=taps.dtype, device=taps.device).view(1, len(taps), *conv.kernel_size)
    return nn.Sequential(products, convolution_like(conv, one_hot, conv.bias))


def replace_single_channel_convs(network: nn.Module) -> None:
    """Replace every 3x3 convolution with stride 1 from many channels to one, in place."""
    for module in list(network.modules()):
        for name, child in module.named_children():
            if not isinstance(child, nn.Conv2d) or child.out_channels != 1 or child.in_channels <= MIN_CHANNELS:
                continue
            if child.kernel_size == (3, 3) and child.stride == (1, 1):
                setattr(module, name, inner_products(child))
