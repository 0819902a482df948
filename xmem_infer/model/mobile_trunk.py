"""An image trunk of inverted residuals (MobileNetV2, arXiv 1801.04381): EfficientNet-Lite's stem and first five stages.

This is EfficientNet (arXiv 1905.11946) without squeeze-excitation and with ReLU6; batch norms are folded into the
preceding convolutions. Padding is symmetric as usual in torch, whereas TensorFlow pads one side only at stride 2: away
from the borders, the features equal the published ones of an image shifted by 15 px.
"""

import torch.nn.functional as F
from torch import Tensor, nn

from .sizes import MobileBlock, MobileTrunkSizes


class InvertedResidual(nn.Module):
    """Expanding 1x1, depthwise and projecting 1x1 convolutions; a skip connection if input and output shapes agree."""

    def __init__(self, in_channels: int, sizes: MobileBlock, stride: int):
        super().__init__()
        hidden, side = sizes.hidden, sizes.kernel_size
        self.expand = nn.Conv2d(in_channels, hidden, 1)
        self.depthwise = nn.Conv2d(hidden, hidden, side, stride, padding=side // 2, groups=hidden)
        self.project = nn.Conv2d(hidden, sizes.channels, 1)
        self.skip = stride == 1 and in_channels == sizes.channels

    def forward(self, x: Tensor) -> Tensor:
        """(B, in_channels, H, W) -> (B, channels, H / stride, W / stride)."""
        y = F.relu6(self.expand(x), inplace=True)
        y = self.project(F.relu6(self.depthwise(y), inplace=True))
        return x + y if self.skip else y


class MobileStem(nn.Module):
    """A convolution with stride 2, then a depthwise and a 1x1 convolution."""

    def __init__(self, in_channels: int, hidden: int, out_channels: int):
        super().__init__()
        self.conv = nn.Conv2d(in_channels, hidden, 3, stride=2, padding=1)
        self.depthwise = nn.Conv2d(hidden, hidden, 3, padding=1, groups=hidden)
        self.project = nn.Conv2d(hidden, out_channels, 1)

    def forward(self, image: Tensor) -> Tensor:
        """(B, in_channels, H, W) -> (B, out_channels, H / 2, W / 2)."""
        x = F.relu6(self.conv(image), inplace=True)
        return self.project(F.relu6(self.depthwise(x), inplace=True))


class MobileTrunk(nn.Module):
    """Stem, three layers of inverted residuals, and a 1x1 convolution from each layer to the channels of its output."""

    def __init__(self, sizes: MobileTrunkSizes, in_channels: int):
        super().__init__()
        hidden, width = sizes.stem
        self.stem = MobileStem(in_channels, hidden, width)
        layers, reads = [], []
        for blocks, channels in zip(sizes.layers, sizes.channels, strict=True):
            layer = nn.Sequential()
            for number, block in enumerate(blocks):
                layer.append(InvertedResidual(width, block, stride=1 if number else 2))
                width = block.channels
            layers.append(layer)
            reads.append(nn.Conv2d(width, channels, 1))
        self.layer1, self.layer2, self.layer3 = layers
        self.read4, self.read8, self.read16 = reads

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(B, in_channels, H, W) -> non-negative features at strides 4, 8, 16."""
        x4, x8, x16 = self.features(image)
        return F.relu(self.read4(x4)), F.relu(self.read8(x8)), F.relu(self.read16(x16))

    def features(self, image: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return the outputs of the layers before the 1x1 convolutions, which are the published network's features."""
        x4 = self.layer1(self.stem(image))
        x8 = self.layer2(x4)
        return x4, x8, self.layer3(x8)
