"""Convolutions that add and rectify on their way out, with weights laid out once: oneDNN's fused primitives.

torch offers them under the names that its compiler writes into the programs it makes; they are no promise, so
`can_fuse` tries them on this machine first, and without them a network keeps its plain blocks.
"""

from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...model.blocks import BasicBlock, Bottleneck, ResBlock, per_object
from ...model.mobile_trunk import InvertedResidual, MobileStem
from .share_image_features import SharedConv2d

# Numbers between two convolutions that are asked for at once: the C library's heap hands out 32 MB anew at most, more
# comes from the system page by page, which takes as long as the arithmetic.
_AT_ONCE = 5_000_000


class FusedConv2d(nn.Module):
    """relu(conv(x) + added) in one pass over memory; for inference on the CPU, channels last.

    Weights are laid out for the size of the input, and again when that changes: a layout made for another size
    costs up to five times the time.
    """

    def __init__(self, conv: nn.Conv2d):
        super().__init__()
        self.weight, self.dtype = conv.weight.detach(), conv.weight.dtype
        self.bias = None if conv.bias is None else conv.bias.detach()
        self.geometry = list(conv.padding), list(conv.stride), [1, 1], conv.groups  # padding, stride, dilation, groups
        self.size: tuple[int, int] | None = None

    def lay_out(self, x: Tensor) -> None:
        """Order the weights as oneDNN wants them for an input like x."""
        weight = self.weight if self.size is None else self.weight.to_dense()
        self.weight = torch.ops.mkldnn._reorder_convolution_weight(weight, *self.geometry, list(x.shape))
        self.size = (x.shape[2], x.shape[3])

    def forward(
        self, x: Tensor, added: Tensor | None = None, relu: bool = False, at_most: float | None = None
    ) -> Tensor:
        """x (B, C, H, W) in any precision, added of the result's shape -> (B, C', H', W') in the weights' precision.

        at_most: the end of a clipped relu, where nothing is added.
        """
        x = x.to(self.dtype)
        if self.size != x.shape[2:]:
            self.lay_out(x)
        convolve, kind = torch.ops.mkldnn._convolution_pointwise, "relu" if relu else "none"
        if at_most is not None:
            return convolve(x, self.weight, self.bias, *self.geometry, "hardtanh", [0.0, at_most], "")
        if added is None:
            return convolve(x, self.weight, self.bias, *self.geometry, kind, [], "")
        return convolve.binary(
            x, added, self.weight, self.bias, *self.geometry, "add", 1.0, "relu" if relu else None, [], ""
        )


class FusedSharedConv2d(nn.Module):
    """`SharedConv2d` whose sum happens in the second convolution."""

    def __init__(self, conv: SharedConv2d):
        super().__init__()
        self.shared, self.own = FusedConv2d(conv.shared), FusedConv2d(conv.own)

    def forward(self, shared: Tensor, own: Tensor, added: Tensor | None = None, relu: bool = False) -> Tensor:
        """shared (B, C, H, W), own (B * O, C', H, W) -> (B * O, out_channels, ...)."""
        once = self.shared(shared)
        each = per_object(once, own.shape[0] // shared.shape[0]).contiguous(memory_format=torch.channels_last)
        return self.own(own, each if added is None else each + added, relu)


class FusedResidual(nn.Module):
    """A block of torchvision's, its batch norms folded away: relu(convolutions of x + skip of x)."""

    def __init__(self, block: BasicBlock | Bottleneck):
        super().__init__()
        names = ("conv1", "conv2", "conv3")
        self.convs = nn.ModuleList(FusedConv2d(getattr(block, name)) for name in names if hasattr(block, name))
        self.downsample = None if block.downsample is None else _fused(block.downsample[0])

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C', H', W')."""
        y = x
        for conv in self.convs[:-1]:
            y = conv(y, relu=True)
        return self.convs[-1](y, added=x if self.downsample is None else self.downsample(x), relu=True)


class FusedResBlock(nn.Module):
    """`ResBlock`: relu and convolution twice, plus the skip of the input."""

    def __init__(self, block: ResBlock):
        super().__init__()
        self.conv1, self.conv2 = _fused(block.conv1), FusedConv2d(block.conv2)
        self.downsample = None if block.downsample is None else _fused(block.downsample)

    def forward(self, *x: Tensor) -> Tensor:
        """As `ResBlock.forward`."""
        skip = x[0] if self.downsample is None else self.downsample(*x)
        return self.conv2(self.conv1(*map(F.relu, x), relu=True), added=skip)


class FusedInvertedResidual(nn.Module):
    """`InvertedResidual`: convolutions with their clipped relus, the last one adds the skip."""

    def __init__(self, block: InvertedResidual):
        super().__init__()
        self.expand, self.depthwise = FusedConv2d(block.expand), FusedConv2d(block.depthwise)
        self.project, self.skip = FusedConv2d(block.project), block.skip
        self.hidden, self.stride = block.depthwise.in_channels, block.depthwise.stride[0]
        self.reach = -(
            -(block.depthwise.kernel_size[0] // 2) // self.stride
        )  # output rows that see the padding, at each end

    def forward(self, x: Tensor) -> Tensor:
        """As `InvertedResidual.forward`; in strips of rows where the wide numbers between are too many for the heap."""
        rows = x.shape[2] // self.stride
        strips = min(rows, -(-x[:, 0].numel() * self.hidden // _AT_ONCE))
        ends = [rows * number // strips for number in range(strips + 1)]
        parts = [self._rows(x, *pair) for pair in pairwise(ends)]
        return parts[0] if strips == 1 else torch.cat(parts, 2)

    def _rows(self, x: Tensor, start: int, end: int) -> Tensor:
        """Output rows start..end-1, from the input rows that they see."""
        before = min(self.reach, start)
        part = x[:, :, self.stride * (start - before) : self.stride * (end + self.reach)]
        y = self.depthwise(self.expand(part, at_most=6.0), at_most=6.0)[:, :, before : before + end - start]
        return self.project(y, added=x[:, :, start:end] if self.skip else None)


class FusedMobileStem(nn.Module):
    """`MobileStem`: convolutions with their clipped relus."""

    def __init__(self, stem: MobileStem):
        super().__init__()
        self.conv, self.depthwise = FusedConv2d(stem.conv), FusedConv2d(stem.depthwise)
        self.project = FusedConv2d(stem.project)

    def forward(self, image: Tensor) -> Tensor:
        """As `MobileStem.forward`."""
        return self.project(self.depthwise(self.conv(image, at_most=6.0), at_most=6.0))


def fuse_convolutions(network: nn.Module) -> bool:
    """In place: every convolution of a folded, shared network on the CPU; whether this machine's torch can."""
    if not all(can_fuse(dtype) for dtype in {parameter.dtype for parameter in network.parameters()}):
        return False
    for module in list(network.modules()):
        for name, child in module.named_children():
            if isinstance(child, BasicBlock | Bottleneck):
                setattr(module, name, FusedResidual(child))
            elif isinstance(child, InvertedResidual):
                setattr(module, name, FusedInvertedResidual(child))
            elif isinstance(child, MobileStem):
                setattr(module, name, FusedMobileStem(child))
            elif isinstance(child, ResBlock) and not _keeps_joint_input(child):
                setattr(module, name, FusedResBlock(child))
            elif isinstance(child, SharedConv2d | nn.Conv2d):
                setattr(module, name, _fused(child))
    return True


def can_fuse(dtype: torch.dtype) -> bool:
    """Whether this machine's torch has the fused operations in a precision, and they compute what they should."""
    generator = torch.Generator().manual_seed(0)
    conv = nn.Conv2d(16, 16, 3, padding=1, device="meta")  # `to_empty` would import sympy: half a second at every start
    for name, parameter in list(conv.named_parameters()):
        drawn = torch.randn(parameter.shape, generator=generator) / 12
        setattr(conv, name, nn.Parameter(drawn, requires_grad=False))
    x, added = (torch.randn(1, 16, 8, 8, generator=generator) for _ in range(2))
    alone = conv(x)
    expected = F.relu(alone + added)
    x, added = (part.to(dtype).to(memory_format=torch.channels_last) for part in (x, added))
    try:
        fused = FusedConv2d(conv.to(dtype))
        found, clipped = fused(x, added, relu=True), fused(x, at_most=0.5)
    except (AttributeError, RuntimeError, TypeError):
        return False
    apart = (found.float() - expected).abs().max(), (clipped.float() - alone.clamp(0, 0.5)).abs().max()
    return bool(max(apart) < 0.05)


def _fused(conv: nn.Module) -> nn.Module:
    return FusedSharedConv2d(conv) if isinstance(conv, SharedConv2d) else FusedConv2d(conv)  # type: ignore[arg-type]


def _keeps_joint_input(block: ResBlock) -> bool:
    """An input in two parts that is handed on as it is: it is put together in `ResBlock` alone."""
    return isinstance(block.conv1, SharedConv2d) and block.downsample is None
