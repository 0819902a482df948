"""Building blocks of the encoders and the decoder."""

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .sizes import TrunkSizes


class JointConv2d(nn.Conv2d):
    """A convolution over the concatenation of image features, shared by all objects, and the features of each object.

    A backend can replace it by one that convolves the shared channels only once, see `SharedConv2d`.
    """

    def __init__(self, shared: int, own: int, out_channels: int, kernel_size: int, **options: Any):
        super().__init__(shared + own, out_channels, kernel_size, **options)
        self.shared_channels = shared

    def forward(self, shared: Tensor, own: Tensor) -> Tensor:  # type: ignore[override]  # its input has two parts
        """shared (B, C, H, W), own (B * O, C', H, W) -> (B * O, out_channels, ...)."""
        return super().forward(concatenate(shared, own))


def _conv(shared: int, own: int, out_channels: int, kernel_size: int, **options: Any) -> nn.Conv2d:
    if own:
        return JointConv2d(shared, own, out_channels, kernel_size, **options)
    return nn.Conv2d(shared, out_channels, kernel_size, **options)


class BasicBlock(nn.Module):
    """Two 3x3 convolutions with a skip connection (ResNet, arXiv 1512.03385, figure 5 left).

    Parameters are named as in torchvision's checkpoints.
    """

    expansion = 1

    def __init__(self, in_channels: int, planes: int, stride: int = 1, downsample: nn.Sequential | None = None):
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, planes, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(planes)
        self.conv2 = nn.Conv2d(planes, planes, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(planes)
        self.downsample: nn.Sequential | None = downsample

    def forward(self, x: Tensor) -> Tensor:
        """(B, in_channels, H, W) -> (B, planes, H / stride, W / stride)."""
        y = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)), inplace=True)))
        y += x if self.downsample is None else self.downsample(x)
        return F.relu(y, inplace=True)


class Bottleneck(nn.Module):
    """1x1, 3x3 (with the stride) and 1x1 convolutions with a skip connection (ResNet, figure 5 right).

    Parameters are named as in torchvision's checkpoints.
    """

    expansion = 4

    def __init__(self, in_channels: int, planes: int, stride: int = 1, downsample: nn.Sequential | None = None):
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, planes, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(planes)
        self.conv2 = nn.Conv2d(planes, planes, 3, stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(planes)
        self.conv3 = nn.Conv2d(planes, planes * self.expansion, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(planes * self.expansion)
        self.downsample: nn.Sequential | None = downsample

    def forward(self, x: Tensor) -> Tensor:
        """(B, in_channels, H, W) -> (B, 4 * planes, H / stride, W / stride)."""
        y = F.relu(self.bn1(self.conv1(x)), inplace=True)
        y = F.relu(self.bn2(self.conv2(y)), inplace=True)
        y = self.bn3(self.conv3(y))
        y += x if self.downsample is None else self.downsample(x)
        return F.relu(y, inplace=True)


class Trunk(nn.Module):
    """ResNet stem and stages 1-3; the input may have `own_channels` additional channels for each object."""

    def __init__(self, sizes: TrunkSizes, in_channels: int, own_channels: int = 0):
        super().__init__()
        width = sizes.widths[0]
        self.conv1 = _conv(in_channels, own_channels, width, 7, stride=2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        stages = []
        for number, (planes, blocks) in enumerate(zip(sizes.widths, sizes.blocks, strict=True)):
            stages.append(_stage(sizes.bottleneck, width, planes, blocks, stride=1 if number == 0 else 2))
            width = sizes.channels[number]
        self.layer1, self.layer2, self.layer3 = stages

    def forward(self, *image: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(B, in_channels, H, W) [and (B * O, own_channels, H, W)] -> features at strides 4, 8, 16."""
        # Max pooling and ReLU commute: after pooling, ReLU has only a quarter of the elements to process.
        x = F.relu(F.max_pool2d(self.bn1(self.conv1(*image)), 3, stride=2, padding=1))
        x4 = self.layer1(x)
        x8 = self.layer2(x4)
        return x4, x8, self.layer3(x8)


def _stage(bottleneck: bool, channels: int, planes: int, blocks: int, stride: int) -> nn.Sequential:
    kind: type[BasicBlock] | type[Bottleneck] = Bottleneck if bottleneck else BasicBlock
    out = planes * kind.expansion
    skip = None
    if stride != 1 or channels != out:
        skip = nn.Sequential(nn.Conv2d(channels, out, 1, stride, bias=False), nn.BatchNorm2d(out))
    first = kind(channels, planes, stride, skip)
    return nn.Sequential(first, *(kind(out, planes) for _ in range(1, blocks)))


class ResBlock(nn.Module):
    """Pre-activation residual block without batch norm; the skip connection takes the input before the ReLU."""

    def __init__(self, in_channels: int, out_channels: int, skip_kernel: int = 3, own_channels: int = 0):
        """own_channels: input channels of each object, besides `in_channels` that all objects share."""
        super().__init__()
        self.conv1 = _conv(in_channels, own_channels, out_channels, 3, padding=1)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, padding=1)
        self.downsample: nn.Module | None = None
        if in_channels + own_channels != out_channels:
            self.downsample = _conv(in_channels, own_channels, out_channels, skip_kernel, padding=skip_kernel // 2)

    def forward(self, *x: Tensor) -> Tensor:
        out = self.conv2(F.relu(self.conv1(*map(F.relu, x))))
        return out + (concatenate(*x) if self.downsample is None else self.downsample(*x))


class ChannelGate(nn.Module):
    """CBAM's channel attention: global average and max pooling, each through one shared MLP."""

    def __init__(self, channels: int, reduction: int = 16):
        super().__init__()
        self.reduce = nn.Linear(channels, channels // reduction)
        self.expand = nn.Linear(channels // reduction, channels)

    def forward(self, x: Tensor) -> Tensor:
        gate = self._mlp(x.mean((2, 3))) + self._mlp(x.amax((2, 3)))
        return x * gate.sigmoid()[:, :, None, None]

    def _mlp(self, pooled: Tensor) -> Tensor:
        return self.expand(F.relu(self.reduce(pooled)))


class SpatialGate(nn.Module):
    """CBAM's spatial attention, computed from the channels' [maximum, mean] in this order."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(2, 1, 7, padding=3)

    def forward(self, x: Tensor) -> Tensor:
        pooled = torch.cat([x.amax(1, keepdim=True), x.mean(1, keepdim=True)], 1)
        return x * self.conv(pooled).sigmoid()


class FeatureFusion(nn.Module):
    """Fuse image features, shared by all objects, with features of each object: residual block, CBAM, another block."""

    def __init__(self, shared: int, own: int, out_channels: int, skip_kernel: int = 3):
        super().__init__()
        self.res1 = ResBlock(shared, out_channels, skip_kernel, own)
        self.channel_gate = ChannelGate(out_channels)
        self.spatial_gate = SpatialGate()
        self.res2 = ResBlock(out_channels, out_channels)

    def forward(self, shared: Tensor, own: Tensor) -> Tensor:
        """shared (B, C, h, w), own (B * O, C', h, w) -> (B * O, out_channels, h, w)."""
        x = self.res1(shared, own)
        return self.res2(x + self.spatial_gate(self.channel_gate(x)))


class RecurrentCell(nn.Module):
    """The GRU-like cell of sensory memory (paper section 3.4); one convolution computes all three gates."""

    def __init__(self, in_channels: int, hidden_dim: int):
        super().__init__()
        self.transform = nn.Conv2d(in_channels + hidden_dim, 3 * hidden_dim, 3, padding=1)

    def forward(self, g: Tensor, sensory: Tensor) -> Tensor:
        """g (B * O, C, h, w), sensory (B * O, C_h, h, w) -> new sensory state, in the dtype of `sensory`."""
        gates = self.transform(torch.cat([g.to(sensory.dtype), sensory], 1)).to(sensory.dtype)
        forget, update, new = gates.chunk(3, 1)
        update = update.sigmoid()
        return forget.sigmoid() * sensory * (1 - update) + update * new.tanh()


def concatenate(shared: Tensor, own: Tensor | None = None) -> Tensor:
    """Append each object's channels (B * O, C', ...) to the shared ones (B, C, ...): (B * O, C + C', ...)."""
    return shared if own is None else torch.cat([per_object(shared, own.shape[0] // shared.shape[0]), own], 1)


def per_object(shared: Tensor, objects: int) -> Tensor:
    """Repeat (B, ...) for each object -> (B * O, ...)."""
    return shared.unsqueeze(1).expand(-1, objects, *shared.shape[1:]).flatten(0, 1)


def in_chunks(
    count: int | None, function: Callable[..., tuple[Tensor, Tensor]], *parts: Tensor
) -> tuple[Tensor, Tensor]:
    """Call a function with at most `count` objects (axis 1; None: all) at once; return its concatenated results."""
    chunks = zip(*(x.split(count or x.shape[1], 1) for x in parts), strict=True)
    first, second = zip(*(function(*chunk) for chunk in chunks), strict=True)
    return (first[0], second[0]) if len(first) == 1 else (torch.cat(first, 1), torch.cat(second, 1))


def upsample(x: Tensor, factor: int) -> Tensor:
    """Upsample bilinearly by an integer factor, with align_corners=False."""
    return F.interpolate(x, scale_factor=factor, mode="bilinear", align_corners=False)


def infinity_to_nan(logits: Tensor) -> Tensor:
    """Return logits in float32 or float64, with NaN for infinity, which would give a valid-looking probability."""
    logits = at_least_float32(logits)
    return logits.masked_fill(logits.isinf(), torch.nan)


def at_least_float32(x: Tensor) -> Tensor:
    """Cast half precision to float32; return other dtypes unchanged."""
    return x.float() if x.dtype in (torch.float16, torch.bfloat16) else x
