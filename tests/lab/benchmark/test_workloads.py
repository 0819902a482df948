import numpy as np
import pytest

from xmem_infer.config import DataConfig
from xmem_infer.errors import UsageError
from xmem_infer.io.frames import open_frames
from xmem_infer.lab.benchmark.config import BenchmarkConfig, CurvesConfig, EndToEndConfig
from xmem_infer.lab.benchmark.plots import points
from xmem_infer.lab.benchmark.report import are_measured
from xmem_infer.lab.benchmark.run import workload_plan
from xmem_infer.lab.benchmark.scene import block_mask, drifting_frames, write_clip
from xmem_infer.lab.benchmark.workloads import Workload, parse_workload


@pytest.mark.parametrize(
    ("name", "workload"),
    [
        ("480p_2", Workload(480, 2)),
        ("720p_10_long_term", Workload(720, 10, long_term=True)),
        ("tiny_480p_1", Workload(480, 1, network="tiny")),
        ("cutie_base_480p_5_long_term", Workload(480, 5, long_term=True, network="cutie_base")),
        ("240p_3_4frames", Workload(240, 3, memory_frames=4)),
    ],
)
def test_names_are_read_and_written_alike(name, workload):
    assert parse_workload(name) == workload
    assert workload.name == name


def test_widths_are_those_of_published_footage():
    assert {height: Workload(height, 1).width for height in (240, 360, 480, 720)} == {
        240: 426, 360: 640, 480: 854, 720: 1280,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("480", "no workload '480'.*480p_2"),
        ("480p_2_10frames", "no workload"),
        ("480p_2_long", "_long_term"),
        ("nothing_480p_2", "no workload.*cutie_small"),
        ("16p_1", "16 px are too few"),
        ("480p_0", "0 objects"),
        ("32p_9", "9 objects.*between 1 and 7"),
    ],
)
def test_other_names_are_refused(name, words):
    with pytest.raises(UsageError, match=words):
        parse_workload(name)


@pytest.mark.parametrize(
    ("kind", "settings", "words"),
    [
        (BenchmarkConfig, {"variants": []}, "variants"),
        (BenchmarkConfig, {"workloads": []}, "workloads"),
        (BenchmarkConfig, {"rounds": 0}, "rounds=0"),
        (BenchmarkConfig, {"peak_memory": ["big"]}, "'big'"),
        (CurvesConfig, {"base": "480p_2_long_term"}, "curve.base"),
        (CurvesConfig, {"memory_frames": [10]}, "curve.memory_frames=10"),
        (EndToEndConfig, {"frames": 3}, "end_to_end.frames=3"),
        (EndToEndConfig, {"workloads": ["481p_1"]}, "even height"),
    ],
)
def test_impossible_settings_are_refused(kind, settings, words):
    with pytest.raises(UsageError, match=words):
        kind(**settings)


def test_curves_vary_one_thing_at_a_time():
    config = CurvesConfig(base="64p_2", objects=[4, 1], heights=[48], memory_frames=[2, 9])
    axes = config.axes()
    assert {workload.name: place for workload, place in axes["objects"].items()} == {"64p_1": 1, "64p_4": 4}
    assert list(axes["megapixels"].values()) == [48 * 86 / 1e6]
    assert list(axes["tokens in memory"].values()) == [2 * 4 * 8, 9 * 4 * 8, 9 * 4 * 8 + 10_000]
    assert len(config.workloads()) == len({w.name for w in config.workloads()}) == 6
    rows = [{"workload": "64p_4", "variant": "fast_bf16", "p50_ms": "12.5"}]  # as read from results.csv
    assert points(axes["objects"], "fast_bf16", rows) == [(4, 12.5)]
    assert not are_measured(config, rows)


def test_what_lies_on_a_curve_only_is_measured_for_the_curve_only():
    curve = CurvesConfig(["fast_fp32"], "64p_2", [1, 2], [64], [9])
    plan = workload_plan(BenchmarkConfig(workloads=["64p_2"], variants=["eager_fp32"], curve=curve))
    assert {workload.name: variants for workload, variants in plan.items()} == {
        "64p_2": ["eager_fp32", "fast_fp32"],
        "64p_1": ["fast_fp32"],
        "64p_2_long_term": ["fast_fp32"],
    }
    plan = workload_plan(BenchmarkConfig(workloads=["64p_2"], variants=["eager_fp32"], curves=False, curve=curve))
    assert [workload.name for workload in plan] == ["64p_2"]


def test_the_clip_is_what_it_was_written_from(tmp_path):
    workload = Workload(64, 3)
    frames = drifting_frames(workload, 4)
    write_clip(frames, tmp_path / "clip.mp4")
    read = list(open_frames(tmp_path / "clip.mp4", DataConfig()))
    assert len(read) == 4
    for written, frame in zip(frames, read, strict=True):
        assert frame.image.shape == (64, 114, 3)
        assert np.abs(frame.image.astype(int) - written).mean() < 12  # of 255, lossy
    assert np.unique(block_mask(workload)).tolist() == [0, 1, 2, 3]
    assert np.array_equal(drifting_frames(workload, 4)[3], frames[3])
