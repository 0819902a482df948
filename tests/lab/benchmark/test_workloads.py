import numpy as np
import pytest

from xmem_infer.config import DataConfig
from xmem_infer.errors import UsageError
from xmem_infer.io.frames import open_frames
from xmem_infer.lab.benchmark.config import BenchmarkConfig, EndToEndConfig
from xmem_infer.lab.benchmark.scene import block_mask, drifting_frames, write_clip
from xmem_infer.lab.benchmark.workloads import Workload, parse_workload


@pytest.mark.parametrize(
    ("name", "workload"),
    [
        ("480p_2", Workload(480, 2)),
        ("720p_10_long_term", Workload(720, 10, long_term=True)),
        ("tiny_480p_1", Workload(480, 1, network="tiny")),
        ("cutie_base_480p_5_long_term", Workload(480, 5, long_term=True, network="cutie_base")),
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
        (EndToEndConfig, {"workloads": ["481p_1"]}, "even height"),
    ],
)
def test_impossible_settings_are_refused(kind, settings, words):
    with pytest.raises(UsageError, match=words):
        kind(**settings)


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
