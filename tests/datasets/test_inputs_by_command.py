"""Videos and masks that the command finds, and its errors for unreadable ones."""

import shutil
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

SIZE = (48, 64)


def picture(t):
    return np.random.default_rng(t).integers(0, 256, (*SIZE, 3), dtype=np.uint8)


def mask():
    ids = np.zeros(SIZE, np.uint8)
    ids[10:30, 10:40] = 1
    return Image.fromarray(ids)


def write_folder(folder, frames=3):
    folder.mkdir(parents=True)
    for t in range(frames):
        Image.fromarray(picture(t)).save(folder / f"{t}.png")


def write_video(path, frames=3):
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=25)
        stream.width, stream.height, stream.pix_fmt = SIZE[1], SIZE[0], "yuv420p"
        for t in range(frames):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture(t), format="rgb24")))
        container.mux(stream.encode(None))


def write_set(root, names):
    for name in names:
        write_folder(root / "JPEGImages" / name)
        (root / "Annotations" / name).mkdir(parents=True)
        mask().save(root / "Annotations" / name / "0.png")
    return root


def done(tmp_path):
    folder = tmp_path / "out" / "masks"
    return sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []


def test_a_folder_of_video_files_is_a_batch(tmp_path, command):
    for name in ("a.mp4", "b.mkv"):
        write_video(tmp_path / "clips" / name)
        mask().save(tmp_path / "clips" / f"{name[0]}.png")
    code, said = command("video_dir=clips")
    assert (code, done(tmp_path)) == (0, ["a", "b"]), said


def test_a_batch_of_files_with_masks_elsewhere(tmp_path, command):
    for name in ("a", "b"):
        write_video(tmp_path / "clips" / f"{name}.mp4")
    (tmp_path / "given" / "b").mkdir(parents=True)
    mask().save(tmp_path / "given" / "a.png")
    mask().save(tmp_path / "given" / "b" / "0.png")
    code, said = command("video_dir=clips", "mask=given")
    assert (code, done(tmp_path)) == (0, ["a", "b"]), said


def test_a_video_file_among_its_frames_is_ignored(tmp_path, command):
    write_folder(tmp_path / "clip")
    write_video(tmp_path / "clip" / "source.mp4")
    mask().save(tmp_path / "clip.png")
    assert command("video_dir=clip")[0] == 0
    assert done(tmp_path) == ["clip"]


@pytest.mark.fault("a.mp4 and a.mkv in one batch", "exit code 2: both would write to the same output folder")
def test_two_video_files_of_one_name_are_refused(tmp_path, command):
    for name in ("a.mp4", "a.mkv"):
        write_video(tmp_path / "clips" / name)
    code, said = command("video_dir=clips")
    assert (code, "a.mkv and a.mp4 have the same name" in said) == (2, True)


@pytest.mark.parametrize("target", ["gone.png", "1.png"])  # broken link; circular link
@pytest.mark.fault("frame is a symbolic link to {target} (broken or circular)", "only that video fails, exit code 1")
def test_a_broken_link_as_a_frame_fails_only_its_video(tmp_path, command, target):
    root = write_set(tmp_path / "set", ("a", "b", "c"))
    lost = root / "JPEGImages" / "b" / "1.png"
    lost.unlink()
    lost.symlink_to(target)
    code, said = command("video_dir=set")
    assert (code, done(tmp_path)) == (1, ["a", "c"]), said
    assert f"failed: b: b: frame {Path('set/JPEGImages/b/1.png')} cannot be read" in said
    assert "1 of 3 videos failed" in said
    code, said = command("video_dir=set", "data.on_corrupt=warn", "output_dir=other")
    assert code == 0, said
    assert "it is replaced by frame 0" in said


@pytest.mark.parametrize("target", ["gone.png", "0.png"])
@pytest.mark.fault("mask is a symbolic link to {target} (broken or circular)", "only that video fails, exit code 1")
def test_a_broken_link_as_a_mask_fails_only_its_video(tmp_path, command, target):
    root = write_set(tmp_path / "set", ("a", "b"))
    lost = root / "Annotations" / "b" / "0.png"
    lost.unlink()
    lost.symlink_to(target)
    code, said = command("video_dir=set")
    assert (code, done(tmp_path)) == (1, ["a"]), said
    assert f"failed: b: mask {tmp_path / 'set/Annotations/b/0.png'}" in said


@pytest.mark.parametrize("target", ["gone", "b"])
@pytest.mark.parametrize("part", ["JPEGImages", "Annotations"])
@pytest.mark.fault(
    "folder in {part} is a symbolic link to {target} (broken or circular)", "only that video fails, exit code 1"
)
def test_a_broken_link_as_a_folder_fails_only_its_video(tmp_path, command, part, target):
    root = write_set(tmp_path / "set", ("a", "b", "c"))
    shutil.rmtree(root / part / "b")
    (root / part / "b").symlink_to(target)
    code, said = command("video_dir=set")
    assert (code, done(tmp_path)) == (1, ["a", "c"]), said
    assert "failed: b: " in said


@pytest.mark.fault("1.png and 1.jpg in one video of a batch", "only that video fails, exit code 1")
def test_two_frames_of_one_name_fail_only_their_video(tmp_path, command):
    root = write_set(tmp_path / "set", ("a", "b"))
    shutil.copy(root / "JPEGImages" / "b" / "1.png", root / "JPEGImages" / "b" / "1.jpg")
    code, said = command("video_dir=set")
    assert (code, done(tmp_path)) == (1, ["a"]), said


def test_every_layout_supports_saved_all(tmp_path, command):
    root = write_set(tmp_path / "set" / "valid", ("a",))
    (root / "meta.json").write_text('{"videos": {"a": {"objects": {"1": {"frames": ["0", "2"]}}}}}')
    code, said = command("dataset=ytvos19_valid", "data_root=set")
    assert (code, len(list((tmp_path / "out" / "masks" / "a").iterdir()))) == (0, 2), said
    code, said = command("dataset=ytvos19_valid", "data_root=set", "dataset.saved=all", "output_dir=all")
    assert (code, len(list((tmp_path / "all" / "masks" / "a").iterdir()))) == (0, 3), said
    code, said = command("dataset=generic", "data_root=set/valid", "dataset.saved=annotated", "output_dir=annotated")
    assert (code, len(list((tmp_path / "annotated" / "masks" / "a").iterdir()))) == (0, 1), said


@pytest.mark.parametrize(
    ("dataset", "setting"),
    [
        ("generic", "saved=listed"),
        ("generic", "split=valid"),
        ("generic", "video_lists=[a.txt]"),
        ("davis17_val", "saved=listed"),
        ("davis17_val", "split=valid"),
        ("ytvos19_valid", "video_lists=[a.txt]"),
    ],
)
@pytest.mark.fault(
    "`dataset={dataset} dataset.{setting}`", "exit code 2: the setting does not apply to this dataset layout"
)
def test_settings_that_a_layout_does_not_read_are_refused(tmp_path, command, dataset, setting):
    code, said = command(f"dataset={dataset}", f"data_root={tmp_path}", f"dataset.{setting}")
    assert (code, f"dataset.{setting.split('=')[0]}=" in said, "is of no use with" in said) == (2, True, True), said


@pytest.mark.parametrize("entry", ["../../elsewhere", "a/b", "..", "/"])
@pytest.mark.fault("video list with the invalid entry `{entry}`", "exit code 2, error quotes the entry")
def test_an_invalid_list_entry_is_quoted_in_the_error(tmp_path, command, entry):
    root = tmp_path / "DAVIS"
    write_set(root, ("a",))
    (root / "ImageSets" / "2017").mkdir(parents=True)
    (root / "ImageSets" / "2017" / "val.txt").write_text(f"a\n{entry}\n")
    code, said = command("dataset=davis17_val", "data_root=DAVIS")
    assert (code, f"holds {entry!r}" in said) == (2, True), said
