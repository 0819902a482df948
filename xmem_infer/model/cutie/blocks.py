"""Building blocks of Cutie that XMem does not have."""

from torch import Tensor, nn

from ..blocks import per_object


class ChannelAttentionBlock(nn.Module):
    """Residual block with efficient channel attention (ECA): gates from a 1-d convolution over the channel means."""

    def __init__(self, channels: int):
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1)
        self.gate = nn.Conv1d(1, 1, 5, padding=2, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, h, w) -> (B, C, h, w)."""
        y = self.conv2(self.conv1(x.relu()).relu())
        gate = self.gate(y.mean((2, 3))[:, None])[:, 0].sigmoid()
        return y * gate[:, :, None, None] + x


class PixelFusion(nn.Module):
    """Fuse pixel features, shared by all objects, with features of each object: projections, sum, two blocks."""

    def __init__(self, channels: int):
        super().__init__()
        self.shared = nn.Conv2d(channels, channels, 1)
        self.own = nn.Conv2d(channels, channels, 1)
        self.block1 = ChannelAttentionBlock(channels)
        self.block2 = ChannelAttentionBlock(channels)

    def forward(self, pixels: Tensor, own: Tensor) -> Tensor:
        """pixels (B, C, h, w), own (B * O, C, h, w) -> (B * O, C, h, w)."""
        shared = per_object(self.shared(pixels), own.shape[0] // pixels.shape[0])
        return self.block2(self.block1(shared + self.own(own)))
