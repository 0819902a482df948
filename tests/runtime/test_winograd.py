"""Winograd convolutions against torch's, on CPUs for which NNPACK has them."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from xmem_infer.config import Precision, RuntimeConfig
from xmem_infer.model.network import XMem
from xmem_infer.runtime.backends import winograd as module
from xmem_infer.runtime.backends.onednn_fusion import FusedConv2d, can_fuse
from xmem_infer.runtime.backends.prepare import prepare
from xmem_infer.runtime.backends.winograd import has_winograd_convolutions, winograd, winograd_is_faster
from xmem_infer.runtime.choice import choose

needs_nnpack = pytest.mark.skipif(not module._suits_cpu(), reason="NNPACK is not available or slower on this CPU")


def drawn(*shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(len(shape)))


@needs_nnpack
@pytest.mark.parametrize("relu", [True, False])
@pytest.mark.parametrize("with_sum", [True, False])
@pytest.mark.parametrize(("batch", "height", "width"), [(1, 1, 1), (1, 6, 6), (2, 23, 41), (3, 5, 64)])
def test_it_equals_a_direct_convolution(batch, height, width, with_sum, relu):
    x, weight = drawn(batch, 20, height, width), drawn(24, 20, 3, 3) / 13
    bias, added = drawn(24), drawn(batch, 24, height, width) if with_sum else None
    expected = F.conv2d(x.double(), weight.double(), bias.double(), padding=1) + (added if with_sum else 0)
    for layout in (torch.contiguous_format, torch.channels_last):
        found = winograd(x.to(memory_format=layout), weight, bias, added, relu)
        assert (found - (expected.relu() if relu else expected)).abs().max() < 1e-4


@needs_nnpack
def test_nan_and_infinity_are_not_hidden():
    x, weight = drawn(1, 8, 20, 20), drawn(8, 8, 3, 3)
    for bad in (float("nan"), float("inf")):
        x[0, 3, 10, 10] = bad
        assert not winograd(x, weight, None, None, relu=True).isfinite().all()


@needs_nnpack
@pytest.mark.skipif(not can_fuse(torch.float32), reason="this torch has no fused convolutions")
def test_the_algorithm_follows_the_size_of_the_image(monkeypatch):
    monkeypatch.setattr(module, "_MIN_CHANNELS", 16)
    monkeypatch.setattr(module, "_MIN_ELEMENTS", 16 * 400)
    conv = nn.Conv2d(16, 32, 3, padding=1).requires_grad_(False)
    fused = FusedConv2d(conv)
    for side, expected in ((10, False), (20, True), (21, True), (10, False), (30, True)):
        x = drawn(2, 16, side, side).to(memory_format=torch.channels_last)
        torch.testing.assert_close(fused(x, relu=True), conv(x).relu(), atol=1e-4, rtol=0)
        torch.testing.assert_close(fused(x, at_most=0.2), conv(x).clamp(0, 0.2), atol=1e-4, rtol=0)
        assert fused.winograd == expected


@needs_nnpack
@pytest.mark.parametrize(
    ("conv", "possible"),
    [
        (nn.Conv2d(256, 192, 3, padding=1), True),
        (nn.Conv2d(256, 128, 3, padding=1), False),
        (nn.Conv2d(256, 256, 3, padding=1, stride=2), False),
        (nn.Conv2d(256, 256, 1), False),
        (nn.Conv2d(256, 256, 3, padding=1).bfloat16(), False),
    ],
)
def test_it_is_for_3x3_convolutions_of_many_float32_channels(conv, possible):
    assert has_winograd_convolutions(nn.Sequential(conv)) == possible
    assert not winograd_is_faster(conv.weight, 10, 10)


@needs_nnpack
@pytest.mark.parametrize(("direct", "ours", "faster"), [(1.0, 0.8, True), (1.0, 0.95, False), (0.8, 1.0, False)])
def test_with_avx512_both_algorithms_are_timed_once(direct, ours, faster, monkeypatch, tmp_path):
    def taking(seconds, compute):
        def computed(*arguments, **options):
            calls.append(seconds)
            return compute(*arguments, **options)

        return computed

    calls = []
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "AVX512")
    monkeypatch.setattr(module, "perf_counter", lambda: sum(calls))
    monkeypatch.setattr(F, "conv2d", taking(direct, F.conv2d))
    monkeypatch.setattr(module, "winograd", taking(ours, module.winograd))
    answers = [module._suits_cpu.__wrapped__()]
    assert len(calls) >= 8
    calls.clear()
    answers.append(module._suits_cpu.__wrapped__())  # from the cache
    assert len(calls) == 2  # the check that results are right
    next((tmp_path / "xmem_infer").glob("winograd-*.json")).write_text("damaged")
    answers.append(module._suits_cpu.__wrapped__())
    monkeypatch.setenv("XDG_CACHE_HOME", "/dev/null")
    answers.append(module._suits_cpu.__wrapped__())
    assert answers == [faster] * 4


@needs_nnpack
def test_auto_prefers_it_to_openvino(monkeypatch, tiny_network):
    monkeypatch.setattr("xmem_infer.runtime.choice.has_models", lambda *_: True)
    chosen = []
    monkeypatch.setattr(
        "xmem_infer.runtime.choice.prepare",
        lambda network, device, precision, backend, count: chosen.append(backend) or prepare(network, device),
    )
    for network in (tiny_network, XMem()):
        choose(network, RuntimeConfig(precision=Precision.fp32), torch.device("cpu"))
    assert chosen == ["openvino", "fast"]
