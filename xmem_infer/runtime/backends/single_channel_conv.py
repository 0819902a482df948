"""Convolution to one output channel, like the decoder's last layer, several times as fast as oneDNN's.

oneDNN's convolutions are designed for many output channels.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

# Elements cast and multiplied at once (4 MB in float32), so that they are still in the cache for the product.
_BLOCK = 1_000_000
MIN_CHANNELS = 8  # with this many input channels or fewer there is nothing to gain


class SingleChannelConv2d(nn.Module):
    """A same-size convolution to one channel: inner products over channels for each tap, then shifted and summed."""

    def __init__(self, conv: nn.Conv2d):
        super().__init__()
        assert isinstance(conv.padding, tuple), "padding in pixels, not in words"
        self.kernel_size, self.padding = conv.kernel_size, conv.padding
        # Flipped, because `fold` scatters products where a convolution gathers its inputs.
        self.taps = conv.weight.detach()[0].flip(1, 2).flatten(1).T.contiguous()  # (taps, C)
        self.bias = None if conv.bias is None else conv.bias.detach()

    def forward(self, x: Tensor) -> Tensor:
        """x (B, C, H, W) in any precision, preferably channels last -> (B, 1, H, W) in the precision of the weights."""
        batch, channels, height, width = x.shape
        blocks = x.permute(0, 2, 3, 1).reshape(-1, channels).split(max(1, _BLOCK // channels))
        products = torch.cat([self.taps @ block.to(self.taps.dtype).T for block in blocks], 1)
        columns = products.view(len(self.taps), batch, height * width).transpose(0, 1)
        y = F.fold(columns, (height, width), self.kernel_size, padding=self.padding)
        return y if self.bias is None else y + self.bias[:, None, None]


def replace_single_channel_convs(network: nn.Module) -> None:
    """Replace every 3x3 convolution with stride 1 from many channels to one, in place."""
    for module in list(network.modules()):
        for name, child in module.named_children():
            if not isinstance(child, nn.Conv2d) or child.out_channels != 1 or child.in_channels <= MIN_CHANNELS:
                continue
            if child.kernel_size == (3, 3) and child.stride == (1, 1):
                setattr(module, name, SingleChannelConv2d(child))
