"""Fuse convolutions with the following sum and ReLU by oneDNN's primitives, and reorder their weights only once.

torch has operators for this that its compiler generates calls to. They are not a public interface, so `can_fuse` tries
them on this machine first; if they do not work, a network keeps its plain blocks.
"""

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...model.blocks import BasicBlock, Bottleneck, ResBlock, per_object
from ...model.mobile_trunk import InvertedResidual, MobileStem
from .graph_rewrites import SharedConv2d, replace_modules
from .winograd import winograd, winograd_is_faster

# Elements of an intermediate result that are computed at once (6.4 MB in float32). Strips of 6 to 10 MB were fastest on
# 2 cores with 1 MB of second-level cache. Above 32 MB, glibc requests each result from the system page by page, which
# takes as long as the arithmetic.
_MAX_ELEMENTS = 1_600_000


class FusedConv2d(nn.Module):
    """relu(conv(x) + added), with oneDNN in one pass over memory; for inference on the CPU, channels last.

    Weights are reordered for the size of the input, and again whenever that changes: with an order chosen for another
    size, the convolution takes up to five times as long. Where `winograd_is_faster`, NNPACK computes it instead.
    """

    def __init__(self, conv: nn.Conv2d):
        super().__init__()
        self.weight, self.dtype = conv.weight.detach(), conv.weight.dtype
        self.bias = None if conv.bias is None else conv.bias.detach()
        self.geometry = list(conv.padding), list(conv.stride), [1, 1], conv.groups  # padding, stride, dilation, groups
        self.size: tuple[int, int] | None = None
        self.winograd = False

    def lay_out(self, x: Tensor) -> None:
        """Choose the algorithm for an input like x, and reorder the weights as it prefers."""
        weight = self.weight.to_dense() if self.weight.is_mkldnn else self.weight
        self.size = (x.shape[2], x.shape[3])
        self.winograd = self.geometry == ([1, 1], [1, 1], [1, 1], 1) and winograd_is_faster(weight, *self.size)
        if self.winograd:
            self.weight = weight.contiguous()
        else:
            self.weight = torch.ops.mkldnn._reorder_convolution_weight(weight, *self.geometry, list(x.shape))

    def forward(
        self, x: Tensor, added: Tensor | None = None, relu: bool = False, at_most: float | None = None
    ) -> Tensor:
        """x (B, C, H, W) in any precision -> (B, C', H', W') in the precision of the weights.

        added: Tensor of the result's shape. at_most: upper bound of a clipped ReLU; not possible together with `added`.
        """
        x = x.to(self.dtype)
        if self.size != x.shape[2:]:
            self.lay_out(x)
        if self.winograd and at_most is None:
            return winograd(x, self.weight, self.bias, added, relu)
        convolve, conv = torch.ops.mkldnn._convolution_pointwise, (self.weight, self.bias, *self.geometry)
        if added is not None:
            return convolve.binary(x, added, *conv, "add", 1.0, "relu" if relu else None, [], "")
        if at_most is not None:
            return convolve(x, *conv, "hardtanh", [0.0, at_most], "")
        return convolve(x, *conv, "relu" if relu else "none", [], "")


class FusedSharedConv2d(nn.Module):
    """A `SharedConv2d` whose sum is fused into the second convolution."""

    def __init__(self, conv: SharedConv2d):
        super().__init__()
        self.shared, self.own = FusedConv2d(conv.shared), FusedConv2d(conv.own)

    def forward(self, shared: Tensor, own: Tensor, added: Tensor | None = None, relu: bool = False) -> Tensor:
        """shared (B, C, H, W), own (B * O, C', H, W) -> (B * O, out_channels, ...)."""
        once = self.shared(shared)
        each = per_object(once, own.shape[0] // shared.shape[0]).contiguous(memory_format=torch.channels_last)
        return self.own(own, each if added is None else each + added, relu)


class FusedResidual(nn.Module):
    """A ResNet block with folded batch norms: relu(convolutions(x) + skip(x))."""

    def __init__(self, block: BasicBlock | Bottleneck):
        super().__init__()
        names = ("conv1", "conv2", "conv3")
        self.convs = nn.ModuleList(FusedConv2d(getattr(block, name)) for name in names if hasattr(block, name))
        self.downsample = None if block.downsample is None else _fused(block.downsample[0])

    def forward(self, x: Tensor) -> Tensor:
        y = x
        for conv in self.convs[:-1]:
            y = conv(y, relu=True)
        return self.convs[-1](y, added=x if self.downsample is None else self.downsample(x), relu=True)


class FusedResBlock(nn.Module):
    """A `ResBlock` with fused ReLU and sum: twice ReLU and convolution, plus the skip connection."""

    def __init__(self, block: ResBlock):
        super().__init__()
        self.conv1, self.conv2 = _fused(block.conv1), FusedConv2d(block.conv2)
        self.downsample = None if block.downsample is None else _fused(block.downsample)

    def forward(self, *x: Tensor) -> Tensor:
        skip = x[0] if self.downsample is None else self.downsample(*x)
        return self.conv2(self.conv1(*map(F.relu, x), relu=True), added=skip)


class FusedInvertedResidual(nn.Module):
    """An `InvertedResidual` whose convolutions include their clipped ReLUs, and the last one the skip connection."""

    def __init__(self, block: InvertedResidual):
        super().__init__()
        self.expand, self.depthwise = FusedConv2d(block.expand), FusedConv2d(block.depthwise)
        self.project, self.skip = FusedConv2d(block.project), block.skip
        self.hidden, self.stride = block.depthwise.in_channels, block.depthwise.stride[0]
        # Output rows at each end that depend on the padding.
        self.reach = -(-(block.depthwise.kernel_size[0] // 2) // self.stride)

    def forward(self, x: Tensor) -> Tensor:
        """See `InvertedResidual.forward`; computed in strips of rows if the expanded features exceed _MAX_ELEMENTS."""
        rows = x.shape[2] // self.stride
        strips = min(rows, -(-x[:, 0].numel() * self.hidden // _MAX_ELEMENTS))
        ends = [rows * number // strips for number in range(strips + 1)]
        parts = [self._rows(x, *pair) for pair in pairwise(ends)]
        return parts[0] if strips == 1 else torch.cat(parts, 2)

    def _rows(self, x: Tensor, start: int, end: int) -> Tensor:
        """Compute output rows start..end-1 from the input rows that they depend on."""
        before = min(self.reach, start)
        part = x[:, :, self.stride * (start - before) : self.stride * (end + self.reach)]
        y = self.depthwise(self.expand(part, at_most=6.0), at_most=6.0)[:, :, before : before + end - start]
        return self.project(y, added=x[:, :, start:end] if self.skip else None)


class FusedMobileStem(nn.Module):
    """A `MobileStem` whose convolutions include their clipped ReLUs."""

    def __init__(self, stem: MobileStem):
        super().__init__()
        self.conv, self.depthwise = FusedConv2d(stem.conv), FusedConv2d(stem.depthwise)
        self.project = FusedConv2d(stem.project)

    def forward(self, image: Tensor) -> Tensor:
        return self.project(self.depthwise(self.conv(image, at_most=6.0), at_most=6.0))


def _fused_res_block(block: ResBlock) -> nn.Module:
    # Where the skip connection is the two-part input itself, the block is kept, because only it concatenates the parts.
    is_joint = isinstance(block.conv1, SharedConv2d)
    return block if is_joint and block.downsample is None else FusedResBlock(block)


FUSED: dict[type[nn.Module], Callable[[Any], nn.Module]] = {
    nn.Conv2d: FusedConv2d,
    SharedConv2d: FusedSharedConv2d,
    BasicBlock: FusedResidual,
    Bottleneck: FusedResidual,
    ResBlock: _fused_res_block,
    InvertedResidual: FusedInvertedResidual,
    MobileStem: FusedMobileStem,
}


def fuse_convolutions(network: nn.Module) -> bool:
    """Replace every convolution of a network on the CPU by a fused one, in place, and return whether torch has them.

    Batch norms must be folded and image features shared before.
    """
    has_operators = all(can_fuse(dtype) for dtype in {parameter.dtype for parameter in network.parameters()})
    if has_operators:
        replace_modules(network, FUSED)
    return has_operators


def can_fuse(dtype: torch.dtype) -> bool:
    """Return whether this machine's torch has the fused operators in a precision and they give correct results."""
    generator = torch.Generator().manual_seed(0)
    conv = nn.Conv2d(16, 16, 3, padding=1, device="meta")  # `to_empty` imports sympy: half a second
    for name, parameter in list(conv.named_parameters()):
        drawn = torch.randn(parameter.shape, generator=generator) / 12
        setattr(conv, name, nn.Parameter(drawn, requires_grad=False))
    x, added = (torch.randn(1, 16, 8, 8, generator=generator) for _ in range(2))
    alone = conv(x)
    expected = F.relu(alone + added)
    x, added = (part.to(dtype).to(memory_format=torch.channels_last) for part in (x, added))
    try:
        fused = FusedConv2d(conv.to(dtype))
        actual, clipped = fused(x, added, relu=True), fused(x, at_most=0.5)
    except (AttributeError, RuntimeError, TypeError):
        return False
    errors = (actual.float() - expected).abs().max(), (clipped.float() - alone.clamp(0, 0.5)).abs().max()
    return bool(max(errors) < 0.05)


def _fused(module: nn.Module) -> nn.Module:
    return FUSED[type(module)](module)
