"""References, directions and memory files with the real command."""

import csv
import json
import shutil

import av
import numpy as np
import pytest
from PIL import Image
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from xmem_infer import DataConfig, LabelMask, MemoryConfig, RuntimeConfig, Segmenter, propagate
from xmem_infer.io.frames import open_frames

NAMES = [f"frame{index:02d}" for index in range(7)]


@pytest.fixture
def video(make_clip, tmp_path):
    """Frames in video/, masks of frames 1 and 5 in references/, the first of them in mask.png."""
    images, masks = make_clip(7, 48, 64, 2, seed=3)
    for folder in ("video", "references"):
        (tmp_path / folder).mkdir()
    for name, image in zip(NAMES, images, strict=True):
        Image.fromarray(image).save(tmp_path / "video" / f"{name}.png")
    for index in (1, 5):
        Image.fromarray(masks[index]).save(tmp_path / "references" / f"{NAMES[index]}.png")
    Image.fromarray(masks[0]).save(tmp_path / "mask.png")
    return masks


def masks_in(folder):
    return {path.stem: np.asarray(Image.open(path)) for path in sorted(folder.glob("*.png"))}


@pytest.mark.parametrize("direction", ["forward", "backward", "both"])
def test_masks_equal_those_of_the_python_api(command, video, tmp_path, tiny_weights, direction):
    code, errors = command("video_dir=video", "references=references", f"direction={direction}")
    assert code == 0, errors
    assert ("before it there is no object" in errors) == (direction == "forward")
    runtime = RuntimeConfig(precision="fp32", threads=1)
    segmenter = Segmenter.from_weights(tiny_weights, MemoryConfig(), runtime, DataConfig(size=-1))
    frames = open_frames(tmp_path / "video", DataConfig())
    given = {index: LabelMask(video[index]) for index in (1, 5)}
    expected = {result.frame.name: result.mask for result in propagate(segmenter, frames, given, direction=direction)}
    found = masks_in(tmp_path / "out" / "masks" / "video")
    assert list(found) == NAMES
    for name in NAMES:
        np.testing.assert_array_equal(found[name], expected.get(name, np.zeros((48, 64))))
    with open(tmp_path / "out" / "confidence" / "video.csv", newline="") as file:
        rows = [row["frame"] for row in csv.DictReader(file)]
    assert rows == sorted(rows) and set(rows) == set(expected)
    assert (tmp_path / "out" / "overlay" / "video.mp4").is_file()
    code, errors = command("video_dir=video", "references=references", f"direction={direction}")
    assert code == 0 and "already done" in errors


def test_of_several_videos_one_that_cannot_start_is_left_out(command, video, tmp_path):
    for name, frame in (("a", NAMES[0]), ("b", NAMES[5])):
        shutil.copytree(tmp_path / "video", tmp_path / "set" / "JPEGImages" / name)
        (tmp_path / "given" / name).mkdir(parents=True)
        shutil.copy(tmp_path / "mask.png", tmp_path / "given" / name / f"{frame}.png")
    code, errors = command("video_dir=set", "references=given", "direction=backward")
    assert code == 1 and errors.count("the only mask of a is that of its first frame") == 1, errors
    assert [path.name for path in (tmp_path / "out" / "masks").iterdir()] == ["b"]
    assert json.loads((tmp_path / "out" / "run.json").read_text())["videos"]["a"]["status"] == "failed"


def test_a_video_file_in_both_directions(command, video, tmp_path):
    path = tmp_path / "clip.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25, options={"g": "3"})
        stream.width, stream.height = 64, 48
        for name in [*NAMES, NAMES[0]]:
            picture = np.asarray(Image.open(tmp_path / "video" / f"{name}.png"))
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())
    (tmp_path / "masks").mkdir()
    for index in (2, 6):
        Image.fromarray(video[index]).save(tmp_path / "masks" / f"{index}.png")
    code, errors = command(f"video_dir={path}", "references=masks", "direction=both")
    assert code == 0, errors
    found = masks_in(tmp_path / "out" / "masks" / "clip")
    assert list(found) == [f"{index:05d}" for index in range(8)]
    for index in (2, 6):
        np.testing.assert_array_equal(found[f"{index:05d}"], video[index])


def test_scores_of_a_backward_run(command, video, tmp_path):
    code, errors = command("video_dir=video", "references=references", "direction=backward", "output.scores=true")
    assert code == 0, errors
    with np.load(tmp_path / "out" / "scores" / "video" / "frame03.npz") as file:
        assert np.abs(file["probabilities"].astype(int).sum(0) - 255).max() <= 2


def test_a_memory_tracks_its_objects_in_another_video(command, video, tmp_path):
    code, errors = command("video_dir=video", "mask=mask.png", "memory.save=taught.safetensors")
    assert code == 0, errors
    (tmp_path / "video").rename(tmp_path / "other")
    code, errors = command("video_dir=other", "memory.load=taught.safetensors", "memory.frozen=true", "output_dir=o2")
    assert code == 0, errors
    found = masks_in(tmp_path / "o2" / "masks" / "other")
    assert list(found) == NAMES
    assert any(mask.any() for mask in found.values())
    again = ("video_dir=other", "memory.load=taught.safetensors", "memory.frozen=true", "output_dir=o2")
    assert "already done" in command(*again)[1]
    taught = tmp_path / "taught.safetensors"
    save_file(load_file(taught), taught, {**safe_open(taught, "pt").metadata(), "note": '"another"'})
    code, errors = command(*again)
    assert code == 2 and "memory.load: taught.safetensors (sha256" in errors


def test_a_memory_is_also_saved_by_a_finished_run(command, video, tmp_path):
    first = ("video_dir=video", "mask=mask.png")
    assert command(*first)[0] == 0
    code, errors = command(*first, "memory.save=new/taught")
    assert code == 0 and "was done, but new/taught is missing: it is segmented again" in errors
    assert "already done" in command(*first, "memory.save=new/taught")[1]
    (tmp_path / "other").write_bytes(b"of another video")
    command(*first, "memory.save=other")
    assert load_file(tmp_path / "other").keys() == load_file(tmp_path / "new" / "taught").keys()


@pytest.mark.parametrize("path", ["video", "mask.png/taught"])
def test_a_memory_that_cannot_be_saved_is_reported_at_once(command, video, tmp_path, path):
    code, errors = command("video_dir=video", "mask=mask.png", f"memory.save={path}")
    assert code == 3 and f"cannot write {path}" in errors, errors
    assert len(list((tmp_path / "video").iterdir())) == 7 and not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (["references=nowhere"], "references=nowhere does not exist"),
        (["references=mask.png"], "references=mask.png is a file: give a folder of masks"),
        (["references=empty"], "references=empty holds no masks for video; it holds nothing"),
        (["references=misnamed"], "belong to no frame of video: 00100.png; masks are called like their frames, the"),
        (["references=references", "mask=mask.png"], "are alternatives"),
        (["mask=mask.png", "direction=backward"], "the only mask of video is that of its first frame"),
        (["mask=mask.png", "direction=sideways"], "direction"),
        (["references=references", "tta.flip=true"], "references=references is not possible together with tta"),
        (
            ["references=references", "memory.load=m"],
            "references=references is not possible together with memory.load=m",
        ),
        (["direction=backward", "memory.load=m"], "direction=backward is not possible together with memory.load=m"),
        (["memory.load=m"], "memory.load=m is not a file"),
        (["references=references", "memory.late_objects=published"], "references=references keeps frames in memory"),
        (["mask=mask.png", "data.permanent=true", "memory.late_objects=published"], "data.permanent=true keeps frames"),
        (["mask=mask.png", "memory.frozen=true"], "memory.frozen=True is not possible: it must be false, without"),
    ],
)
def test_invalid_settings_are_refused_before_work_starts(command, video, tmp_path, settings, message):
    (tmp_path / "empty").mkdir()
    (tmp_path / "misnamed").mkdir()
    shutil.copy(tmp_path / "mask.png", tmp_path / "misnamed" / "00100.png")
    code, errors = command("video_dir=video", *settings)
    assert code == 2 and message in errors, errors
    assert not (tmp_path / "out").exists()


def test_a_reference_of_another_size_or_name_is_refused(command, video, tmp_path):
    Image.fromarray(video[3][:32]).save(tmp_path / "references" / "frame03.png")
    code, errors = command("video_dir=video", "references=references")
    assert code == 2 and "frame03.png is 64x32" in errors
    (tmp_path / "references" / "frame03.png").rename(tmp_path / "references" / "frame99.png")
    code, errors = command("video_dir=video", "references=references")
    assert code == 2 and "belong to no frame of video: frame99.png" in errors
