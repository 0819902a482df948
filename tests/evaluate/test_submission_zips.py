"""Zip files for the evaluation servers of datasets."""

import zipfile
from types import SimpleNamespace

import dataset_trees as trees
import in_process_run
import numpy as np
import pytest
from dataset_trees import labels

from xmem_infer.evaluate.score_or_package import check_masks

run = in_process_run.run

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
