"""What this machine computes at best, measured between the rounds: the yardstick for the share of its peak."""

from collections.abc import Callable
from time import perf_counter

import torch
import torch.nn.functional as F
from torch import Tensor

from ...config import Precision
from ...runtime.precision import HALF

# 3x3 convolutions as in the network at 480p, channels last: channels, height, width; and a square matrix product.
CONVOLUTIONS = ((128, 60, 107), (256, 30, 54), (512, 30, 54))
PRODUCTS = (1024,)
REPEATS = 3


def probe(precision: Precision) -> float:
    """Operations per second of the fastest kernel, each at its best of three runs on this machine's CPU."""
    dtype = HALF.get(precision, torch.float32)
    found = [_rate(*_convolution(*sizes, dtype)) for sizes in CONVOLUTIONS]
    found += [_rate(*_product(size, dtype)) for size in PRODUCTS]
    return max(found)


def _convolution(channels: int, height: int, width: int, dtype: torch.dtype) -> tuple[Callable[[], Tensor], int]:
    x = torch.ones(1, channels, height, width, dtype=dtype).to(memory_format=torch.channels_last)
    weight = torch.ones(channels, channels, 3, 3, dtype=dtype).to(memory_format=torch.channels_last)
    return lambda: F.conv2d(x, weight, padding=1), 2 * 9 * channels * channels * height * width


def _product(size: int, dtype: torch.dtype) -> tuple[Callable[[], Tensor], int]:
    a, b = torch.ones(size, size, dtype=dtype), torch.ones(size, size, dtype=dtype)
    return lambda: a @ b, 2 * size**3


def _rate(kernel: Callable[[], Tensor], operations: int) -> float:
    kernel()  # kernels are chosen and weights reordered on the first call
    best = float("inf")
    with torch.no_grad():
        for _ in range(REPEATS):
            started = perf_counter()
            kernel()
            best = min(best, perf_counter() - started)
    return operations / best
