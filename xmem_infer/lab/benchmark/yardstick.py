"""What this machine computes at best, measured between the rounds: the yardstick for the share of its peak."""

from collections.abc import Callable
from time import perf_counter

import torch
import torch.nn.functional as F
from torch import Tensor

from ...config import Precision
from ...runtime.precision import HALF

CONVOLUTIONS = ((128, 60, 107), (256, 30, 54), (512, 30, 54))  # channels, height, width, as in the network at 480p
PRODUCT = 1024  # side of the matrices
REPEATS = 3


def best_rate(precision: Precision) -> float:
    """Operations per second of the fastest of some 3x3 convolutions and a matrix product on this machine's CPU."""
    dtype = HALF.get(precision, torch.float32)
    square = torch.ones(PRODUCT, PRODUCT, dtype=dtype)
    rates = [_rate(lambda: square @ square, 2 * PRODUCT**3)]
    for channels, height, width in CONVOLUTIONS:
        x = torch.ones(1, channels, height, width, dtype=dtype).to(memory_format=torch.channels_last)
        weight = torch.ones(channels, channels, 3, 3, dtype=dtype).to(memory_format=torch.channels_last)
        operations = 2 * 9 * channels * channels * height * width
        rates.append(_rate(lambda x=x, weight=weight: F.conv2d(x, weight, padding=1), operations))  # type: ignore[misc]
    return max(rates)


def _rate(kernel: Callable[[], Tensor], operations: int) -> float:
    kernel()  # kernels are chosen and weights reordered on the first call
    best = float("inf")
    for _ in range(REPEATS):
        started = perf_counter()
        kernel()
        best = min(best, perf_counter() - started)
    return operations / best
