"""Runs of whole datasets (dataset=NAME): which scores they compute and show."""

import csv
import json
from pathlib import Path

import dataset_trees as trees
import in_process_run
import numpy as np
import pytest
from dataset_trees import labels

from xmem_infer.scoring.report import describe_comparison
from xmem_infer.scoring.score_folders import score_folders
from xmem_infer.scoring.scores import Measures, ObjectScore, Rules, SetScores, VideoScore

run = in_process_run.run


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
