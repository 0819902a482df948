"""The benchmark of workers as it is run: what it prints, and what it refuses before any work."""

from functools import partial

import pytest
from commands import in_process
from PIL import Image

run = partial(in_process, "benchmark_workers.py")


@pytest.fixture
def videos(tmp_path, make_clip):
    """Two videos of three frames, with masks of the first."""
    for seed, name in enumerate(("a", "b")):
        images, masks = make_clip(3, 48, 64, 2, seed=seed)
        for t, image in enumerate(images):
            save(tmp_path / "set" / "JPEGImages" / name / f"{t}.png", image)
        save(tmp_path / "set" / "Annotations" / name / "0.png", masks[0])
    return tmp_path / "set"


def save(path, pixels):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


@pytest.mark.slow
def test_workers_are_measured_against_one_process(videos, tmp_path, tiny_weights):
    done = run(f"video_dir={videos}", f"weights={tiny_weights}", "size=48", "rounds=1",
               cwd=tmp_path)  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "2 workers against one process" in done.stdout
    assert "throughput of the command x " in done.stdout
    assert [path.name for path in tmp_path.iterdir()] == ["set"]


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("video_dri=x", ["Did you mean video_dir"]),
        ("workers=1", ["workers=1", "at least 2"]),
        ("rounds=0", ["rounds=0"]),
        ("size=many", ["many"]),
        ("size=240", ["video_dir is not set"]),
        ("video_dir=nowhere", ["nowhere", "does not exist"]),
        ("video_dir=set/JPEGImages/a", ["1 video", "workers=2"]),
    ],
)
def test_wrong_requests_are_refused(videos, tmp_path, override, words):
    done = run(override, cwd=tmp_path)
    assert done.returncode == 2, done.stderr
    for word in words:
        assert word in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""


def test_a_failing_run_passes_its_exit_code_on(videos, tmp_path):
    done = run(f"video_dir={videos}", "weights=nowhere.pth", cwd=tmp_path)
    assert done.returncode == 3
    assert "nowhere.pth" in done.stderr
