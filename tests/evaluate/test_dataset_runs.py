"""Runs of whole datasets (dataset=NAME): which masks are given and saved, and what is refused."""

import json

import dataset_trees as trees
import in_process_run
import numpy as np
import pytest
from dataset_trees import labels
from PIL import Image

from xmem_infer.errors import UsageError

run = in_process_run.run


def tree(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_davis_at_another_size_reads_full_resolution_and_saves_480p(run, tmp_path, make_clip):
    levels = (("480p", (48, 64)), ("Full-Resolution", (96, 128)))
    root = trees.davis(tmp_path / "davis", make_clip, ["a"], "2017/val.txt", levels=levels)
    assert run("davis17_val", data_root=str(root), data__size=64).code == 0
    masks = tmp_path / "out" / "masks" / "a"
    assert {labels(path).shape for path in masks.iterdir()} == {(48, 64)}
    first = np.array(Image.open(root / "Annotations" / "480p" / "a" / "00000.png"))
    np.testing.assert_array_equal(labels(masks / "00000.png"), first)
    # Changed full-resolution frames are a different input: the video is segmented again.
    frame = root / "JPEGImages" / "Full-Resolution" / "a" / "00002.jpg"
    Image.new("RGB", (128, 96)).save(frame)
    with pytest.raises(UsageError, match="have changed since"):
        run("davis17_val", data_root=str(root), data__size=64)
    assert "already done" not in run("davis17_val", data_root=str(root), data__size=64, overwrite=True).words


def test_ytvos_takes_new_objects_only_and_saves_listed_frames(run, tmp_path, make_clip):
    root = trees.ytvos(tmp_path / "y", make_clip, ["v"])
    plain = run("ytvos18_valid", data_root=str(root))
    assert plain.code == 0
    masks = tmp_path / "out" / "masks" / "v"
    assert [path.stem for path in sorted(masks.iterdir())] == ["00000", "00002", "00003", "00004"]
    found = {path.stem: set(np.unique(labels(path))) - {0} for path in masks.iterdir()}
    assert found["00002"] <= {1}
    given = np.array(Image.open(root / "valid" / "Annotations" / "v" / "00003.png"))
    assert (labels(masks / "00003.png")[given == 2] == 2).all()
    assert set(json.loads((tmp_path / "out" / "run.json").read_text())["videos"]["v"]["objects"]) == {1, 2}

    # A later mask that repeats object 1 (in the wrong place) must not change it: only object 2 is new.
    before = tree(masks)
    again = given.copy()
    again[:, :8] = np.where(again[:, :8] == 0, 1, again[:, :8])
    trees.save_mask(root / "valid" / "Annotations" / "v" / "00003.png", again)
    repeated = run("ytvos18_valid", data_root=str(root), overwrite=True)
    assert "already done" not in repeated.words
    assert tree(masks) == before


def test_a_late_first_mask_leaves_the_frames_before_it_empty(run, tmp_path, make_clip):
    root = trees.folders(tmp_path / "m", make_clip, ["v"], annotated=(2,))
    done = run("mose_valid", data_root=str(root))
    assert done.code == 0
    assert "00002" in done.words
    masks = [labels(path) for path in sorted((tmp_path / "out" / "masks" / "v").iterdir())]
    assert not masks[0].any()
    assert not masks[1].any()
    np.testing.assert_array_equal(masks[2], np.array(Image.open(root / "Annotations" / "v" / "00002.png")))


def test_generic_returns_all_given_masks(run, tmp_path, make_clip):
    root = trees.folders(tmp_path / "g", make_clip, ["v"])
    assert run("generic", data_root=str(root)).code == 0
    for path in (root / "Annotations" / "v").iterdir():
        np.testing.assert_array_equal(labels(tmp_path / "out" / "masks" / "v" / path.name), np.array(Image.open(path)))


@pytest.mark.parametrize(
    ("name", "values", "wanted"),
    [
        (None, {}, "neither video_dir nor dataset"),
        (None, {"data_root": "x"}, "data_root"),
        ("generic", {"video_dir": "x", "data_root": "y"}, "alternatives"),
        ("generic", {"mask": "x.png", "data_root": "y"}, "alternatives"),
        ("generic", {}, "data_root is not set"),
    ],
)
def test_video_dir_and_dataset_are_alternatives(run, tmp_path, name, values, wanted):
    with pytest.raises(UsageError, match=wanted):
        run(name, **values)
    assert not (tmp_path / "out").exists()


def test_several_objects_are_refused_for_davis16(run, tmp_path, make_clip):
    root = trees.davis(tmp_path / "davis", make_clip, ["a"], "2016/val.txt")
    with pytest.raises(UsageError, match="one per video"):
        run("davis16_val", data_root=str(root))


def test_frames_to_save_that_are_missing(run, tmp_path, make_clip):
    root = trees.ytvos(tmp_path / "y", make_clip, ["v"])
    (root / "all_frames" / "valid_all_frames" / "JPEGImages" / "v" / "00004.jpg").unlink()
    with pytest.raises(UsageError, match="1 of 4 frames whose masks are to be saved"):
        run("ytvos18_valid", data_root=str(root))
