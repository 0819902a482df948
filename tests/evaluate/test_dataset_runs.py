"""Datasets from their folder to scores or submission zip, with the real pipeline and a tiny network."""

import csv
import json
import zipfile
from pathlib import Path
from types import SimpleNamespace

import dataset_trees as trees
import numpy as np
import pytest
from logs import logged
from PIL import Image

from xmem_infer.errors import UsageError
from xmem_infer.evaluate.run import evaluate
from xmem_infer.evaluate.server_zip import check_masks
from xmem_infer.scoring.published import describe_comparison
from xmem_infer.scoring.score_folders import score_folders
from xmem_infer.scoring.scores import Measures, ObjectScore, Rules, SetScores, VideoScore


class Run:
    """One call of `evaluate`: its exit code, lines and tables."""

    def __init__(self, name, out, weights, **values):
        settings = {
            "weights": str(weights), "output_dir": str(out), "data__size": -1, "runtime__threads": 1,
            "runtime__precision": "fp32", "output__overlay": False, "output__preview": False, **values,
        }  # fmt: skip
        with logged() as lines:
            self.code = evaluate(trees.eval_config(name, **settings))
        self.words = "\n".join(lines)


@pytest.fixture
def run(tmp_path, tiny_weights):
    return lambda name, **values: Run(name, tmp_path / "out", values.pop("weights", tiny_weights), **values)


def labels(path):
    with Image.open(path) as image:
        assert image.mode == "P"
        return np.array(image)


def tree(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


# -- scores ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "list_file"), [("davis16_val", "2016/val.txt"), ("davis17_val", "2017/val.txt")])
def test_davis_is_scored_as_the_score_script_scores_it(run, tmp_path, make_clip, name, list_file):
    single = name == "davis16_val"
    root = trees.davis(tmp_path / "davis", make_clip, ["a", "b"], list_file, single=single)
    done = run(name, data_root=str(root))
    assert done.code == 0
    out = tmp_path / "out"
    alone = score_folders(out, root, Rules.davis16 if single else Rules.davis17)
    saved = json.loads((out / "scores.json").read_text())
    assert saved["J&F"] == alone.measures.overall
    assert saved["provenance"]["rules"] == ("davis16" if single else "davis17")
    assert {row["video"] for row in csv.DictReader((out / "scores.csv").open())} == {"a", "b", ""}
    assert f"{100 * alone.measures.overall:.2f}" in done.words
    assert "do not compare" in done.words  # two videos are only part of the dataset
    assert (out / "worst" / "a.png").is_file()
    assert set(np.unique(labels(out / "masks" / "a" / "00003.png"))) <= ({0, 255} if single else {0, 1, 2})
    before = (out / "scores.json").read_bytes()
    again = run(name, data_root=str(root))
    assert again.code == 0
    assert again.words.count("already done") == 2
    assert (out / "scores.json").read_bytes() == before


def test_score_false_scores_nothing(run, tmp_path, make_clip):
    root = trees.davis(tmp_path / "davis", make_clip, ["a"], "2017/val.txt")
    assert run("davis17_val", data_root=str(root), score=False).code == 0
    assert not (tmp_path / "out" / "scores.json").exists()


@pytest.mark.fault("one video of a dataset fails", "no dataset score is reported")
def test_a_failed_video_leaves_the_dataset_without_a_score(run, tmp_path, make_clip):
    root = trees.davis(tmp_path / "davis", make_clip, ["a", "b"], "2017/val.txt")
    frame = root / "JPEGImages" / "480p" / "b" / "00003.jpg"
    frame.write_bytes(frame.read_bytes()[:100])
    done = run("davis17_val", data_root=str(root))
    assert done.code == 1
    saved = json.loads((tmp_path / "out" / "scores.json").read_text())
    assert saved["J&F"] is None
    assert "b" in saved["problems"]
    assert "86.2" not in done.words


def test_published_scores_are_shown_for_a_complete_dataset(run, tmp_path, make_clip, tiny_weights):
    root = trees.davis(tmp_path / "davis", make_clip, ["a"], "2017/val.txt")
    weights = tmp_path / "XMem.safetensors"
    weights.write_bytes(Path(tiny_weights).read_bytes())
    done = run("davis17_val", data_root=str(root), dataset__videos=[1], weights=weights)
    saved = json.loads((tmp_path / "out" / "scores.json").read_text())
    assert saved["published"]["figures"] == {"J&F": 0.862, "J": 0.829, "F": 0.895}
    assert saved["published"]["difference"]["J"] == pytest.approx(saved["J"] - 0.829)
    here = 100 * saved["J&F"]
    assert f"J&F {here:.1f} here, 86.2 published ({here - 86.2:+.1f})" in done.words


def test_published_scores_of_other_weights_are_labelled_as_such():
    figures = Measures({"J&F": 0.5, "J": 0.5, "F": 0.5})
    series = np.full(4, 0.5)
    video = VideoScore("a", ("1", "2", "3", "4"), (ObjectScore(1, 0, {"J": series, "F": series}, figures),), figures)
    scores = SetScores(Rules.davis16, Path("p"), Path("a"), (video,), {}, {})
    dataset = trees.eval_config("davis16_val", dataset__videos=[1]).dataset
    line = describe_comparison(dataset, Path("weights/xmem-tiny.safetensors"), scores)
    assert line == "published for DAVIS-2016 val: XMem: J&F 91.5; XMem-s012: J&F 92.0; the weights here are xmem-tiny"


def test_a_folder_with_annotations_is_scored_by_default(run, tmp_path, make_clip):
    root = trees.folders(tmp_path / "set", make_clip, ["a", "b"])
    done = run(None, video_dir=str(root))
    assert done.code == 0
    alone = score_folders(tmp_path / "out", root / "Annotations")
    assert json.loads((tmp_path / "out" / "scores.json").read_text())["J&F"] == alone.measures.overall


@pytest.mark.parametrize("values", [{"data__masks": "all"}, {}])
def test_given_masks_are_not_used_as_ground_truth(run, tmp_path, make_clip, values):
    root = trees.folders(tmp_path / "set", make_clip, ["a"], annotated=None if values else (0, 2))
    assert run(None, video_dir=str(root), **values).code == 0
    assert not (tmp_path / "out" / "scores.json").exists()


def test_long_video_saves_and_scores_annotated_frames(run, tmp_path, make_clip):
    root = trees.folders(tmp_path / "long_video", make_clip, ["rat"], annotated=(0, 2, 3, 5))
    done = run("long_video", data_root=str(root))
    assert done.code == 0
    masks = tmp_path / "out" / "masks" / "rat"
    assert sorted(path.name for path in masks.iterdir()) == ["00000.png", "00002.png", "00003.png", "00005.png"]
    assert json.loads((tmp_path / "out" / "scores.json").read_text())["scored"]["frames"] == 2
    assert json.loads((tmp_path / "out" / "run.json").read_text())["config"]["memory"]["memory_every"] == 10


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


# -- what is given and saved ----------------------------------------------------------------------------------


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


# -- refusals -------------------------------------------------------------------------------------------------


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


# -- server files ---------------------------------------------------------------------------------------------

ZIPS = {
    "ytvos18_valid": "Annotations/",
    "ytvos19_valid": "Annotations/",
    "ytvos_test": "Annotations/",
    "davis17_testdev": "",
    "mose_valid": "",
    "lvos_test": "Annotations/",
}


def make_set(name, root, make_clip):
    if name.startswith("ytvos"):
        return trees.ytvos(root, make_clip, ["v10", "v2"], "test" if name == "ytvos_test" else "valid")
    if name == "davis17_testdev":
        return trees.davis(root, make_clip, ["v10", "v2"], "2017/test-dev.txt", annotated=(0,))
    return trees.folders(root, make_clip, ["v10", "v2"], annotated=(0,))


@pytest.mark.parametrize("name", ZIPS)
def test_entries_of_submission_zips(run, tmp_path, make_clip, name):
    root = make_set(name, tmp_path / "set", make_clip)
    done = run(name, data_root=str(root), dataset__videos=[2])
    assert done.code == 0, done.words
    frames = ["00000", "00002", "00003", "00004"] if name.startswith("ytvos") else [f"{t:05d}" for t in range(6)]
    out = tmp_path / "out"
    with zipfile.ZipFile(out / f"{name}.zip") as archive:
        assert archive.testzip() is None
        assert archive.namelist() == [f"{ZIPS[name]}{video}/{t}.png" for video in ("v2", "v10") for t in frames]
        for entry in archive.namelist():
            path = out / "masks" / entry.removeprefix(ZIPS[name])
            assert archive.read(entry) == path.read_bytes()
    assert f"upload it to {trees.eval_config(name).dataset.server}" in done.words
    before = (out / f"{name}.zip").read_bytes()
    assert run(name, data_root=str(root), dataset__videos=[2]).code == 0
    assert (out / f"{name}.zip").read_bytes() == before


def test_a_partial_dataset_writes_no_zip(run, tmp_path, make_clip):
    root = make_set("mose_valid", tmp_path / "set", make_clip)
    done = run("mose_valid", data_root=str(root))
    assert done.code == 0
    assert "MOSE valid has 311" in done.words
    assert "upload" not in done.words
    assert not (tmp_path / "out" / "mose_valid.zip").exists()


@pytest.mark.fault(
    "mask that the evaluation server would reject", "no submission zip is written; an existing one is deleted"
)
def test_an_invalid_mask_writes_no_zip_and_deletes_the_old_one(run, tmp_path, make_clip):
    root = make_set("mose_valid", tmp_path / "set", make_clip)
    settings = {"data_root": str(root), "dataset__videos": [2]}
    assert run("mose_valid", **settings).code == 0
    mask = tmp_path / "out" / "masks" / "v2" / "00003.png"
    trees.save_mask(mask, np.full(labels(mask).shape, 99, np.uint8))
    done = run("mose_valid", **settings)  # skips the video, but checks the submission
    assert done.code == 1
    assert "00003.png shows labels [99]" in done.words
    assert not list((tmp_path / "out").glob("*.zip*"))


def test_problems_found_by_the_submission_check(tmp_path):
    frames = SimpleNamespace(size=(4, 6), stems=["0", "1", "2"])
    video = SimpleNamespace(name="v", frames=frames, saved=None, saved_count=3, object_ids=frozenset({1, 7}))
    fine = np.zeros((4, 6), np.uint8)
    fine[0, 0] = 7

    def problem():
        return "; ".join(check_masks(tmp_path, [video], 1))

    assert "no folder" in problem()
    trees.save_mask(tmp_path / "v" / "0.png", fine)
    assert "2 of 3 masks missing" in problem()
    trees.save_mask(tmp_path / "v" / "1.png", fine)
    trees.save_mask(tmp_path / "v" / "2.png", fine)
    assert problem() == ""
    trees.save_mask(tmp_path / "v" / "3.png", fine)
    assert "1 masks too many" in problem()
    (tmp_path / "v" / "3.png").unlink()
    trees.save_mask(tmp_path / "v" / "2.png", np.zeros((6, 4), np.uint8))
    assert "2.png is 4x6, the video is 6x4" in problem()
    trees.save_mask(tmp_path / "v" / "2.png", fine + 1)
    assert "labels [8], the masks given have [1, 7]" in problem()
