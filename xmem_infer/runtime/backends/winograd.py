"""3x3 convolutions by Winograd's algorithm (arXiv 1509.09308) in NNPACK, which is part of torch.

It computes 6x6 results at once from 64 products per pair of channels, instead of 9 for each. Its rounding errors in
float32 are about five times those of the direct computation.
"""

import json
from contextlib import suppress
from functools import cache
from hashlib import sha256
from statistics import median
from time import perf_counter

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...errors import EnvironmentFault
from ...io.atomic import write_json
from ...ops.cpu import cpu_capabilities
from ...user_cache import user_cache

# With fewer channels or pixels, transforming weights, images and results takes longer than what is saved.
_MIN_CHANNELS = 192
_MIN_ELEMENTS = 1_000_000  # of the image or the result, whichever has fewer channels


def winograd_is_faster(weight: Tensor, height: int, width: int) -> bool:
    """Return whether `winograd` is faster than oneDNN for images of this size. weight: (C', C, kernel size)."""
    channels = min(weight.shape[:2])
    if weight.shape[2:] != (3, 3) or weight.dtype != torch.float32 or channels < _MIN_CHANNELS:
        return False
    return channels * height * width >= _MIN_ELEMENTS and _suits_cpu()


def has_winograd_convolutions(network: nn.Module) -> bool:
    """Return whether a network has convolutions that `winograd` computes faster on this CPU if images are large."""
    convs = [module for module in network.modules() if isinstance(module, nn.Conv2d)]
    return any(conv.stride == (1, 1) and winograd_is_faster(conv.weight, 1000, 1000) for conv in convs)


def winograd(x: Tensor, weight: Tensor, bias: Tensor | None, added: Tensor | None, relu: bool) -> Tensor:
    """Convolve with stride 1 and padding 1: relu(conv(x) + added), contiguous (B, C', H, W).

    x: (B, C, H, W). weight: (C', C, 3, 3), contiguous. added: tensor of the result's shape. All are float32.
    """
    # NNPACK uses this algorithm only if it gets a single image.
    images = x.contiguous().split(1)
    convolved = [torch._nnpack_spatial_convolution(image, weight, bias, [1, 1], [1, 1]) for image in images]
    y = convolved[0] if len(images) == 1 else torch.cat(convolved)
    if added is not None:
        y += added
    return y.relu_() if relu else y


@cache
def _suits_cpu() -> bool:
    """Return whether NNPACK gives correct results on this CPU and is faster than oneDNN.

    With AVX-512, oneDNN computes up to twice as much at once and NNPACK does not, so that both are timed.
    """
    capability = torch.backends.cpu.get_cpu_capability()
    # `is_available` also initialises NNPACK, which would refuse to compute otherwise.
    if not capability.startswith("AVX") or not torch.backends.nnpack.is_available():
        return False
    x, weight = torch.linspace(-1, 1, 8 * 12 * 12).view(1, 8, 12, 12), torch.linspace(-1, 1, 576).view(8, 8, 3, 3)
    try:
        found = winograd(x, weight, None, None, relu=False)
    except (AttributeError, RuntimeError, TypeError):
        return False
    correct = bool((found - F.conv2d(x, weight, padding=1)).abs().max() < 1e-3)
    return correct and (capability == "AVX2" or _is_faster_here())


def _is_faster_here() -> bool:
    """Time both algorithms once per machine, version of torch and number of threads, which takes half a second.

    The answer is kept in the user's cache, because results of both differ in rounding: later runs repeat them exactly.
    """
    machine = json.dumps([cpu_capabilities(), torch.__version__, torch.get_num_threads()], default=str)
    path = user_cache() / f"winograd-{sha256(machine.encode()).hexdigest()[:20]}.json"
    with suppress(OSError, ValueError):
        return json.loads(path.read_text(encoding="utf-8")) is True
    x, weight = torch.ones(1, 256, 60, 108), torch.ones(256, 256, 3, 3)
    image, filters = (tensor.to(memory_format=torch.channels_last) for tensor in (x, weight))
    direct, ours = [], []
    for _ in range(7):
        start = perf_counter()
        F.conv2d(image, filters, padding=1)
        middle = perf_counter()
        winograd(image, weight, None, None, relu=False)
        direct.append(middle - start)
        ours.append(perf_counter() - middle)
    faster = 1.1 * median(ours) < median(direct)
    with suppress(EnvironmentFault):  # a cache that cannot be written to
        write_json(path, faster)
    return faster
