"""What 8-bit integers would buy and cost: simulated on real frames, timed with oneDNN's own integer convolutions."""

import copy
import statistics
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from time import perf_counter

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...config import DataConfig, MemoryConfig, Precision, RuntimeConfig
from ...model.network import XMem
from ...predictor import Segmenter
from ...runtime.backends.fold_batch_norm import fold_batch_norm
from ...runtime.backends.share_image_features import share_image_features
from ...types import LabelMask

# Left in full precision: keys, logits and gates, and the stems, whose three channels cost little.
SPARED = ("key_projection", "decoder.prediction", "transform", "trunk.conv1", "spatial_gate")


@dataclass
class _Range:
    """Of a convolution's input over the calibration frames."""

    low: float = 0.0
    high: float = 0.0

    def take(self, x: Tensor) -> None:
        self.low, self.high = min(self.low, float(x.min())), max(self.high, float(x.max()))

    def rounded(self, x: Tensor) -> Tensor:
        scale = max((self.high - self.low) / 255, 1e-12)
        return torch.fake_quantize_per_tensor_affine(x, scale, round(-self.low / scale), 0, 255)


def quantised(network: XMem, calibrate: Sequence[np.ndarray], mask: LabelMask, data: DataConfig) -> XMem:
    """A copy whose convolutions compute with 8 bits, rounded as integers would be: weights per output channel,
    inputs per tensor, over the range they take on the calibration frames (H, W, 3)."""
    network = copy.deepcopy(network).eval().requires_grad_(False)
    fold_batch_norm(network)
    share_image_features(network)
    ranges = {}
    for name, module in network.named_modules():
        if isinstance(module, nn.Conv2d) and not any(part in name for part in SPARED):
            ranges[module] = _Range()
    watch = [m.register_forward_pre_hook(lambda m, x: ranges[m].take(x[0])) for m in ranges]
    runtime = RuntimeConfig(precision=Precision.fp32, variant="eager")
    for _ in Segmenter(network, MemoryConfig(), runtime, data).segment(calibrate, mask):
        pass
    for hook in watch:
        hook.remove()
    for module, observed in ranges.items():
        scale = (module.weight.abs().amax((1, 2, 3)) / 127).clamp(min=1e-12)
        zero = torch.zeros_like(scale, dtype=torch.int32)
        module.weight.copy_(torch.fake_quantize_per_channel_affine(module.weight, scale, zero, 0, -128, 127))
        module.register_forward_pre_hook(lambda _, x, observed=observed: (observed.rounded(x[0]), *x[1:]))
    return network


@dataclass(frozen=True)
class Convolution:
    """One that carries the network's time at 480p."""

    channels: int
    out_channels: int
    height: int
    width: int
    kernel: int


CONVOLUTIONS = (
    Convolution(512, 512, 60, 108, 3), Convolution(256, 256, 120, 216, 3), Convolution(1024, 512, 30, 54, 3),
    Convolution(1024, 256, 30, 54, 1),
)  # fmt: skip


def conv_ms(shape: Convolution, rounds: int) -> tuple[float, float]:
    """Median milliseconds in bf16 and in int8 (input and output stay quantised), interleaved."""
    x = torch.rand(1, shape.channels, shape.height, shape.width).to(memory_format=torch.channels_last)
    weight = torch.randn(shape.out_channels, shape.channels, shape.kernel, shape.kernel)
    padding = shape.kernel // 2
    half = x.bfloat16(), weight.bfloat16().to(memory_format=torch.channels_last)
    with _onednn():
        packed = torch.ops.quantized.conv2d_prepack(
            torch.quantize_per_tensor(weight, 0.03, 0, torch.qint8), None, [1, 1], [padding] * 2, [1, 1], 1
        )
        whole = torch.quantize_per_tensor(x, 1 / 255, 0, torch.quint8)
        ways = (lambda: F.conv2d(*half, padding=padding), lambda: torch.ops.quantized.conv2d(whole, packed, 1.0, 128))
        times: tuple[list[float], list[float]] = ([], [])
        for _ in range(rounds + 1):
            for way, spent in zip(ways, times, strict=True):
                started = perf_counter()
                way()
                spent.append((perf_counter() - started) * 1000)
    return statistics.median(times[0][1:]), statistics.median(times[1][1:])


@contextmanager
def _onednn() -> Iterator[None]:
    before = torch.backends.quantized.engine
    torch.backends.quantized.engine = "onednn"
    try:
        yield
    finally:
        torch.backends.quantized.engine = before
