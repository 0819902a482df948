import pytest
import torch
import torch.nn.functional as F

from xmem_infer.config import MemoryConfig, Precision
from xmem_infer.lab.benchmark import end_to_end, interleaved
from xmem_infer.lab.benchmark.end_to_end import PIPELINES, measure_end_to_end
from xmem_infer.lab.benchmark.interleaved import best_rate, measure
from xmem_infer.lab.benchmark.peak_memory import measure_peak
from xmem_infer.lab.benchmark.stages import (
    DECODER,
    FRAME_STAGES,
    KEY_ENCODER,
    MEMORY_READ,
    MEMORY_WRITE,
    REST,
    VALUE_ENCODER,
    FlopMeter,
)
from xmem_infer.lab.benchmark.variants import make_variant
from xmem_infer.lab.benchmark.workload_runner import FRAME, WorkloadRunner, average_frame
from xmem_infer.lab.benchmark.workloads import Workload
from xmem_infer.runtime.backends.winograd import winograd

SMALL = Workload(64, 2)


@pytest.fixture
def runner(tiny_network):
    def build(name="fast_fp32", workload=SMALL):
        return WorkloadRunner(make_variant(name, tiny_network), workload)

    return build


@pytest.mark.parametrize("name", ["published_fp32", "published_bf16", "eager_bf16", "fast_bf16"])
def test_a_round_measures_every_stage_and_changes_nothing(runner, name):
    runner = runner(name)
    memory = runner.state.memory
    before = {key: x.clone() for key, x in runner.state.objects.items()}
    for _ in range(2):
        ordinary, remembered, _ = runner.run_round()
        assert {KEY_ENCODER, MEMORY_READ, DECODER, REST, FRAME} == set(ordinary)
        assert set(remembered) == {*ordinary, VALUE_ENCODER, MEMORY_WRITE}
        assert sum(remembered[stage] for stage in FRAME_STAGES) == pytest.approx(remembered[FRAME])
        assert memory.working_tokens == 9 * memory.frame_tokens == SMALL.memory_tokens
    assert all(torch.equal(x, before[key]) for key, x in runner.state.objects.items())


@pytest.mark.parametrize("name", ["published_fp32", "fast_fp32"])
def test_memory_is_filled_as_the_workload_says(runner, name):
    few = runner(name, Workload(64, 1)).state.memory
    assert (few.working_tokens, few.long_term_tokens) == (9 * few.frame_tokens, 0)
    many = runner(name, Workload(64, 1, long_term=True)).state.memory
    assert many.working_tokens == 9 * many.frame_tokens
    assert 9_500 < many.long_term_tokens <= 10_000
    assert many.config.num_prototypes == 128


def test_with_the_published_settings_the_memory_frame_consolidates(tiny_network):
    runner = WorkloadRunner(make_variant("fast_fp32", tiny_network), SMALL, MemoryConfig().max_working_frames)
    runner.run_once()
    memory = runner.state.memory
    assert (memory.working_tokens, memory.long_term_tokens) == (5 * memory.frame_tokens, 128)


def test_frames_are_weighed_as_in_a_video():
    mean = average_frame({FRAME: 10.0, DECODER: 4.0}, {FRAME: 20.0, DECODER: 9.0, VALUE_ENCODER: 5.0}, 50.0)
    assert mean[FRAME] == pytest.approx((4 * 10 + 20) / 5 + 50 / 25)
    assert mean[DECODER] == pytest.approx((4 * 4 + 9) / 5)
    assert mean[VALUE_ENCODER] == pytest.approx(1.0)
    assert mean[MEMORY_WRITE] == pytest.approx(2.0)


def test_sharing_between_objects_shows_in_the_arithmetic(runner, tiny_network):
    published, fast = runner("published_fp32").flops(), runner("fast_fp32").flops()
    assert fast[KEY_ENCODER] == published[KEY_ENCODER] > 0
    assert 0 < fast[DECODER] < published[DECODER]
    assert 0 < fast[VALUE_ENCODER] < published[VALUE_ENCODER]
    tokens, queries, objects, value_dim = 9 * 32, 32, 2, 32
    dense_readout = 2 * tokens * queries * objects * value_dim
    assert published[MEMORY_READ] - fast[MEMORY_READ] == pytest.approx(dense_readout, rel=0.2)


def test_operations_of_a_convolution_and_a_product():
    x, weight = torch.ones(2, 8, 10, 12), torch.ones(16, 8, 3, 3)
    with FlopMeter() as meter:
        with meter("convolution"):
            F.conv2d(x, weight, padding=1)
        for _ in range(2):
            with meter("product"):
                torch.ones(3, 5) @ torch.ones(5, 7)
    assert meter.stages == {"convolution": 2 * 2 * 16 * 10 * 12 * 8 * 9, "product": 2 * 2 * 3 * 5 * 7}


@pytest.mark.skipif(not hasattr(torch.ops.mkldnn, "_convolution_pointwise"), reason="torch without oneDNN's fused ones")
def test_operations_of_a_fused_convolution():
    x, weight, bias = torch.ones(2, 8, 10, 12), torch.ones(16, 8, 3, 3), torch.ones(16)
    summand, geometry = torch.ones(2, 16, 10, 12), ([1, 1], [1, 1], [1, 1], 1)
    with FlopMeter() as meter:
        with meter("relu"):
            torch.ops.mkldnn._convolution_pointwise(x, weight, bias, *geometry, "relu", [], "")
        with meter("no bias"):
            torch.ops.mkldnn._convolution_pointwise(x, weight, None, *geometry, "none", [], "")
        with meter("sum"):
            torch.ops.mkldnn._convolution_pointwise(x, summand, weight, bias, *geometry, "add", None, None, [], None)
    assert meter.stages == dict.fromkeys(("relu", "no bias", "sum"), 2 * 2 * 16 * 10 * 12 * 8 * 9)


@pytest.mark.skipif(not torch.backends.nnpack.is_available(), reason="torch without NNPACK")
def test_operations_of_a_winograd_convolution():
    x, weight = torch.ones(2, 8, 10, 12), torch.ones(16, 8, 3, 3)
    for bias in (torch.ones(16), None):
        with FlopMeter() as meter, meter("convolution"):
            winograd(x, weight, bias, None, relu=True)
        assert meter.stages == {"convolution": 2 * 2 * 16 * 10 * 12 * 8 * 9}


@pytest.mark.slow
def test_rounds_are_interleaved_every_other_one_backwards(tiny_network, monkeypatch):
    monkeypatch.setattr(interleaved, "CONVOLUTIONS", ())  # bf16 takes long where it is emulated
    monkeypatch.setattr(interleaved, "SIDE", 128)
    variants = [make_variant(name, tiny_network) for name in ("published_fp32", "eager_fp32", "fast_bf16")]
    steps = []
    rows = measure(SMALL, variants, rounds=2, progress=steps.append)
    assert [(row["variant"], row["rounds"]) for row in rows] == [(variant.name, 2) for variant in variants]
    assert steps[-6:-3] == steps[-3:][::-1]
    fast = rows[-1]
    assert fast["precision"] == "bf16"
    assert fast["yardstick_gflops"] != rows[0]["yardstick_gflops"]
    rate = fast["gflop"] / (fast["p50_ms"] / 1000)
    assert fast["share_of_yardstick"] == pytest.approx(rate / fast["yardstick_gflops"])
    assert fast["times_published_fp32"] == rows[0]["p50_ms"] / fast["p50_ms"]
    assert fast["times_published_bf16"] is None  # was not measured
    assert fast["p95_ms"] >= fast["p50_ms"] > fast["decoder_p50_ms"] > 0


def test_the_yardstick_is_a_rate():
    assert best_rate(Precision.fp32) > 1e8


def test_a_clip_is_timed_from_file_to_masks(tiny_network, monkeypatch):
    monkeypatch.setattr(end_to_end, "FRAMES", 6)
    steps = []
    row = measure_end_to_end(tiny_network, SMALL, "fast_fp32", rounds=2, progress=steps.append)
    assert row.keys() == {"workload", "variant", *PIPELINES}
    assert all(row[pipeline] > 0 for pipeline in PIPELINES)
    assert len(steps) == 3 * len(PIPELINES)
    assert steps[3:6] == steps[6:][::-1]


@pytest.mark.slow
def test_peak_memory_is_that_of_a_fresh_process(tiny_weights, tmp_path):
    peak = measure_peak("64p_2", "fast_fp32", str(tiny_weights), threads=1)
    assert peak["result"] == "ok"
    assert peak["peak_bytes"] > peak["above_first_frame_bytes"] > 0
    missing = measure_peak("64p_2", "fast_fp32", str(tmp_path / "none.pth"), threads=1)
    assert (missing["result"].partition(":")[0], missing["peak_bytes"]) == ("failed", None)
    assert "none.pth" in missing["result"]
