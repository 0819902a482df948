"""A convolution to one channel, as the decoder ends in: oneDNN's are made for many, and take several times as long."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

# Numbers cast and multiplied at once (4 MB in float32), so that they are still in the cache when they are multiplied.
_PIECE = 1_000_000
MIN_CHANNELS = 8  # below, there is nothing to gain


class SingleChannelConv2d(nn.Module):
    """What a convolution to one channel at the same size computes: each tap's inner products, shifted and summed."""

    def __init__(self, conv: nn.Conv2d):
        super().__init__()
        assert isinstance(conv.padding, tuple), "padding in pixels, not in words"
        self.kernel_size, self.padding = conv.kernel_size, conv.padding
        # Flipped: `fold` adds a product at the place that a convolution reads its input from.
        self.taps = conv.weight.detach()[0].flip(1, 2).flatten(1).T.contiguous()  # (taps, C)
        self.bias = None if conv.bias is None else conv.bias.detach()

    def forward(self, x: Tensor) -> Tensor:
        """x (B, C, H, W) in any precision, best channels last -> (B, 1, H, W) in the weights' precision."""
        batch, channels, height, width = x.shape
        pixels = x.permute(0, 2, 3, 1).reshape(-1, channels).split(max(1, _PIECE // channels))
        products = torch.cat([self.taps @ piece.to(self.taps.dtype).T for piece in pixels], 1)
        columns = products.view(len(self.taps), batch, height * width).transpose(0, 1)
        found = F.fold(columns, (height, width), self.kernel_size, padding=self.padding)
        return found if self.bias is None else found + self.bias[:, None, None]


def replace_single_channel_convs(network: nn.Module) -> None:
    """In place: every 3x3 convolution from many channels to one at stride 1."""
    for module in list(network.modules()):
        for name, child in module.named_children():
            if not isinstance(child, nn.Conv2d) or child.out_channels != 1 or child.in_channels <= MIN_CHANNELS:
                continue
            if child.kernel_size == (3, 3) and child.stride == (1, 1):
                setattr(module, name, SingleChannelConv2d(child))
