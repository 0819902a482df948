"""Missing or damaged results are rebuilt, and only those."""

import errno
import json
import shutil
from functools import partial

import numpy as np
import pytest
from batch_trees import leftovers, run_config, tree, write_set
from commands import in_process
from logs import logged
from PIL import Image

from xmem_infer.config import OutputConfig
from xmem_infer.errors import EnvironmentFault
from xmem_infer.evaluate.run import evaluate
from xmem_infer.outputs.overlay import OverlayVideo


@pytest.fixture
def again(tmp_path, make_clip, tiny_weights):
    """again() -> the log of a run of two videos into out/, which has been run once before the test."""
    videos = write_set(tmp_path / "set", make_clip, {"a": 4, "b": 3})

    def run(**output):
        config = run_config(videos, tmp_path / "out", tiny_weights, output=OutputConfig(scores=True, **output))
        with logged() as lines:
            assert evaluate(config) == 0
        return "\n".join(lines)

    run()
    return run


def delete(path):
    path.unlink()


def overwrite(path):
    path.write_bytes(bytes(range(256)) * 2)


def flip_a_byte(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 255
    path.write_bytes(content)


def truncate(path):
    path.write_bytes(path.read_bytes()[:-20])


@pytest.mark.parametrize(
    ("file", "spoil", "words"),
    [
        ("masks/a/2.png", delete, "masks/a holds 3 files of 4: it is segmented again"),
        ("masks/a/2.png", overwrite, "masks/a/2.png is damaged: it is segmented again"),
        ("masks/a/2.png", flip_a_byte, "masks/a/2.png is damaged: it is segmented again"),
        ("masks/a/2.png", truncate, "masks/a/2.png is damaged: it is segmented again"),
        ("scores/a/1.npz", flip_a_byte, "scores/a/1.npz is damaged: it is segmented again"),
        ("confidence/a.csv", truncate, "confidence/a.csv is not as it was written: it is segmented again"),
        ("overlay/a.mp4", delete, "overlay/a.mp4 is missing: it is drawn again from its masks"),
        ("overlay/a.mp4", flip_a_byte, "overlay/a.mp4 is not as it was written: it is drawn again from its masks"),
        ("preview/a.png", truncate, "preview/a.png is not as it was written: it is drawn again from its masks"),
    ],
)
@pytest.mark.fault("finished `{file}` was damaged: {spoil}", "rerun reports it and rebuilds only what is affected")
def test_only_damaged_results_are_rebuilt(again, tmp_path, file, spoil, words):
    out = tmp_path / "out"
    before, times = tree(out), {path: path.stat().st_mtime_ns for path in out.glob("masks/*/*.png")}
    spoil(out / file)
    said = again()
    assert f"a: was done, but {words}" in said
    assert "b: already done" in said
    assert tree(out) == before
    redone = {path.parent.name for path, time in times.items() if path.stat().st_mtime_ns != time}
    assert redone == (set() if "drawn" in words else {"a"})
    assert "already done" in again()


@pytest.mark.fault("overlay cannot be written", "error, the masks are kept; the next run only draws the overlay")
def test_an_overlay_that_cannot_be_written_keeps_the_masks(again, tmp_path, monkeypatch):
    out = tmp_path / "out"
    before = tree(out)
    shutil.rmtree(out)

    def draw(self, item):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch, pytest.raises(EnvironmentFault, match=r"cannot write .*a.mp4: No space left"):
        patch.setattr(OverlayVideo, "draw", draw)
        again()
    masks = {path: path.stat().st_mtime_ns for path in out.glob("masks/*/*.png")}
    assert {path.parent.name for path in masks} == {"a"}
    assert leftovers(out) == []
    assert "a: was done, but overlay/a.mp4 is missing: it is drawn again from its masks" in again()
    assert tree(out) == before
    assert masks.items() <= {path: path.stat().st_mtime_ns for path in out.glob("masks/*/*.png")}.items()


@pytest.mark.fault("finished mask was edited by hand", "rerun keeps the edited mask")
def test_a_manually_edited_mask_is_kept(again, tmp_path):
    mask = tmp_path / "out" / "masks" / "a" / "2.png"
    corrected = np.full((48, 64), 2, np.uint8)
    Image.fromarray(corrected).save(mask)
    assert again().count("already done") == 2
    np.testing.assert_array_equal(np.array(Image.open(mask)), corrected)


def test_results_recorded_without_checksums_are_accepted(again, tmp_path):
    path = tmp_path / "out" / "records" / "a.json"
    record = json.loads(path.read_text())
    del record["outputs"]
    path.write_text(json.dumps(record))
    assert again().count("already done") == 2
    overwrite(tmp_path / "out" / "masks" / "a" / "0.png")
    assert "a: was done, but masks/a/0.png is damaged" in again()


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.fault(
    "mask folder and overlay deleted after the run, {workers} worker(s)", "rerun reports and recreates both"
)
def test_the_command_recreates_a_deleted_folder_and_overlay(tmp_path, make_clip, tiny_weights, workers):
    videos = write_set(tmp_path / "set", make_clip, {"a": 4, "b": 3, "c": 3})
    out = tmp_path / "out"
    settings = ("data.size=-1", "runtime.precision=fp32", "runtime.device=cpu", "runtime.threads=1")
    call = partial(in_process, "eval.py", f"video_dir={videos}", f"weights={tiny_weights}", "output_dir=out", *settings)
    assert call(cwd=tmp_path).returncode == 0
    before = tree(out)
    for path in (out / "masks" / "a").iterdir():
        path.unlink()
    (out / "masks" / "a").rmdir()
    (out / "overlay" / "b.mp4").unlink()
    done = call(f"workers={workers}", cwd=tmp_path)
    said = done.stderr
    assert done.returncode == 0, said
    assert "a: was done, but masks/a is missing: it is segmented again" in said
    assert "b: was done, but overlay/b.mp4 is missing: it is drawn again" in said
    assert "c: already done" in said
    assert tree(out) == before
    assert leftovers(out) == []
