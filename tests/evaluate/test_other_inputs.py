"""Results of other inputs are only replaced with `overwrite=true`."""

import numpy as np
import pytest
from batch_trees import tree
from commands import in_process
from PIL import Image


@pytest.fixture
def run(tmp_path, tiny_weights):
    """run(key=value, ...) -> the finished command, started in tmp_path."""

    def start(*overrides):
        settings = ["data.size=-1", "runtime.precision=fp32", "runtime.threads=1", "output.overlay=false"]
        return in_process("eval.py", f"weights={tiny_weights}", *settings, *overrides, cwd=tmp_path)

    return start


def write_clip(folder, make_clip, seed):
    images, masks = make_clip(3, 48, 64, 2, seed=seed)
    folder.mkdir(parents=True)
    for t, image in enumerate(images):
        Image.fromarray(image).save(folder / f"{t}.png")
    Image.fromarray(masks[0]).save(folder.with_name(f"{folder.name}.png"))
    return masks


@pytest.mark.fault("another video of the same name, same output folder", "exit code 2, existing results are unchanged")
def test_another_video_of_the_same_name_is_refused(run, tmp_path, make_clip):
    for seed, name in enumerate("AB"):
        write_clip(tmp_path / name / "clip", make_clip, seed)
    assert run("video_dir=A/clip").returncode == 0
    out = tmp_path / "output" / "clip"
    before = tree(out)
    refused = run("video_dir=B/clip")
    assert refused.returncode == 2, refused.stderr
    for word in (f"video: {tmp_path}/A/clip there, {tmp_path}/B/clip now", "overwrite=true", "output/clip holds"):
        assert word in refused.stderr
    assert tree(out) == before
    assert run("video_dir=B/clip", "overwrite=true").returncode == 0
    assert tree(out) != before


@pytest.mark.fault("rerun without the `mask=` folder of the first run", "exit code 2, existing results are unchanged")
def test_a_rerun_without_the_mask_folder_is_refused(run, tmp_path, make_clip):
    masks = write_clip(tmp_path / "clip", make_clip, 0)
    given = tmp_path / "corrected"
    given.mkdir()
    for t in (0, 2):
        Image.fromarray(np.where(masks[t] == 1, 2, 0).astype(np.uint8)).save(given / f"{t}.png")
    assert run("video_dir=clip", "mask=corrected").returncode == 0
    before = tree(tmp_path / "output" / "clip")
    refused = run("video_dir=clip")
    assert refused.returncode == 2, refused.stderr
    assert f"masks: 2 files in {given} there, {tmp_path}/clip.png now" in refused.stderr
    assert tree(tmp_path / "output" / "clip") == before
    assert "already done" in run("video_dir=clip", "mask=corrected").stderr


@pytest.mark.fault("input frames changed since the run", "exit code 2, error says that the inputs have changed")
def test_changed_frames_are_refused(run, tmp_path, make_clip):
    write_clip(tmp_path / "clip", make_clip, 0)
    assert run("video_dir=clip").returncode == 0
    Image.fromarray(np.zeros((48, 64, 3), np.uint8)).save(tmp_path / "clip" / "1.png")
    refused = run("video_dir=clip")
    assert refused.returncode == 2, refused.stderr
    assert f"the files of {tmp_path}/clip or its masks have changed since" in refused.stderr


@pytest.mark.fault(
    "`.DS_Store` or `Thumbs.db` in input and output folders", "ignored: the video counts as already done"
)
def test_files_of_a_file_manager_are_ignored(run, tmp_path, make_clip):
    write_clip(tmp_path / "clip", make_clip, 0)
    assert run("video_dir=clip").returncode == 0
    for folder in (tmp_path / "clip", tmp_path / "output" / "clip" / "masks" / "clip"):
        for name in (".DS_Store", "Thumbs.db"):
            (folder / name).write_bytes(b"not ours")
    again = run("video_dir=clip")
    assert again.returncode == 0 and "already done" in again.stderr, again.stderr
