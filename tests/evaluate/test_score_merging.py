"""Merging saved scores equals merging during the run, up to quantisation, and a loop over pixels."""

from pathlib import Path

import dataset_trees as trees
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from logs import logged
from PIL import Image

from xmem_infer.errors import UsageError
from xmem_infer.evaluate.run import evaluate
from xmem_infer.evaluate.score_merging import MergeConfig, SavedScores, merge_frame, merge_runs, read_scores


@pytest.fixture
def run(tmp_path, tiny_weights):
    """run(folder, root, key=value): `eval.py dataset=ytvos18_valid` with saved scores."""

    def start(out, root, **values):
        config = trees.eval_config(
            "ytvos18_valid",
            **{
                "data_root": str(root), "output_dir": str(tmp_path / out), "weights": str(tiny_weights),
                "runtime__threads": 1, "runtime__precision": "fp32", "data__size": -1,
                "output__overlay": False, "output__preview": False, "output__scores": True, **values,
            },
        )  # fmt: skip
        assert evaluate(config) == 0
        return tmp_path / out

    return start


def merge(*runs, out):
    with logged() as lines:
        code = merge_runs(MergeConfig([str(run) for run in runs], str(out)))
    return code, "\n".join(lines)


def test_merging_saved_scores_equals_merging_during_the_run(run, tmp_path, make_clip):
    root = trees.ytvos(tmp_path / "y", make_clip, ["v", "w"])
    plain = run("plain", root, data__size=48)
    larger = run("larger", root, data__size=64)
    mirrored = run("mirrored", root, data__size=48, tta__only_flipped=True)
    larger_mirrored = run("larger_mirrored", root, data__size=64, tta__only_flipped=True)
    at_once = run("at_once", root, tta__sizes=[48, 64], tta__flip=True)
    code, words = merge(plain, larger, mirrored, larger_mirrored, out=tmp_path / "merged")
    assert code == 0, words
    compared = 0
    for path in sorted((at_once / "masks").rglob("*.png")):
        relative = path.relative_to(at_once)
        with Image.open(path) as one, Image.open(tmp_path / "merged" / relative) as other:
            assert one.mode == other.mode == "P"
            assert one.getpalette() == other.getpalette()
            differing = np.array(one) != np.array(other)
        saved = read_scores((at_once / "scores" / relative.relative_to("masks")).with_suffix(".npz")).values
        best, second = np.sort(saved.astype(int), 0)[[-1, -2]] if len(saved) > 1 else (saved[0].astype(int), 0)
        # Each score, and so their mean, is off by at most half a step: labels within two steps may swap.
        sure = best - second > 2
        assert not (differing & sure).any()
        compared += int(sure.sum())
    assert compared > 8 * 48 * 64 / 2
    assert len(list((tmp_path / "merged" / "masks").rglob("*.png"))) == 2 * 4
    first = root / "valid" / "Annotations" / "v" / "00000.png"
    merged_first = tmp_path / "merged" / "masks" / "v" / "00000.png"
    np.testing.assert_array_equal(np.array(Image.open(merged_first)), np.array(Image.open(first)))


def reference_merge(scores):
    height, width = scores[0].values.shape[1:]
    labels = np.zeros((height, width), np.uint8)
    for y in range(height):
        for x in range(width):
            total: dict[int, int] = {0: 0}
            for one in scores:
                for label, value in zip([0, *one.object_ids], one.values[:, y, x].tolist(), strict=True):
                    total[label] = total.get(label, 0) + value
            labels[y, x] = max(total, key=total.__getitem__)
    return labels


def values_of(count):
    return arrays(np.uint8, (count, 3, 4))


@settings(max_examples=60)
@given(
    st.lists(
        st.lists(st.integers(1, 255), max_size=3, unique=True).flatmap(
            lambda labels: values_of(len(labels) + 1).map(lambda values: SavedScores(labels, values))
        ),
        min_size=1,
        max_size=4,
    )
)
def test_labels_are_matched_by_value_not_by_position(scores):
    np.testing.assert_array_equal(merge_frame(scores), reference_merge(scores))


def save(run, video, frame, labels, values):
    path = run / "scores" / video / f"{frame}.npz"
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(path, labels=np.array(labels, np.uint8), probabilities=values)


@pytest.fixture
def two(tmp_path):
    """Two runs of two videos with two frames."""
    rng = np.random.default_rng(0)
    for run in ("a", "b"):
        for video in ("v", "w"):
            for frame in ("0", "1"):
                save(tmp_path / run, video, frame, [3], rng.integers(0, 256, (2, 5, 6), np.uint8))
    return tmp_path / "a", tmp_path / "b"


def test_merging_again_replaces(two, tmp_path):
    out = tmp_path / "out"
    assert merge(*two, out=out)[0] == 0
    save(two[0], "v", "0", [3], np.stack([np.zeros((5, 6), np.uint8), np.full((5, 6), 255, np.uint8)]))
    save(two[1], "v", "0", [3], np.stack([np.zeros((5, 6), np.uint8), np.full((5, 6), 255, np.uint8)]))
    assert merge(*two, out=out)[0] == 0
    assert (np.array(Image.open(out / "masks" / "v" / "0.png")) == 3).all()


@pytest.mark.fault("damaged scores of one video while merging runs", "the other videos are merged, exit code 1")
def test_one_damaged_video_does_not_stop_the_others(two, tmp_path):
    path = two[1] / "scores" / "v" / "1.npz"
    path.write_bytes(path.read_bytes()[:50])
    code, words = merge(*two, out=tmp_path / "out")
    assert code == 1
    assert "1.npz" in words
    assert [folder.name for folder in sorted((tmp_path / "out" / "masks").iterdir())] == ["w"]


def test_runs_must_have_the_same_videos_and_frames(two, tmp_path):
    (two[0] / "scores" / "v" / "1.npz").unlink()
    code, words = merge(*two, out=tmp_path / "out")
    assert (code, "not all have scores of 1" in words) == (1, True)
    save(two[0], "extra", "0", [3], np.zeros((2, 5, 6), np.uint8))
    with pytest.raises(UsageError, match="extra"):
        merge(*two, out=tmp_path / "out")


def test_runs_must_have_the_same_frame_size(two, tmp_path):
    save(two[0], "v", "1", [3], np.zeros((2, 6, 5), np.uint8))
    assert "differ in size" in merge(*two, out=tmp_path / "out")[1]


@pytest.mark.parametrize("runs", [[], ["a"], ["a", "nowhere"], ["a", "empty"], ["a", "a"]])
def test_bad_requests(two, tmp_path, runs):
    (tmp_path / "empty").mkdir()
    with pytest.raises(UsageError):
        merge(*(tmp_path / run for run in runs), out=tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_results_of_a_run_are_not_replaced(two, tmp_path):
    with pytest.raises(UsageError, match="give another one"):
        merge(*two, out=two[0])
    record = tmp_path / "run" / "records" / "v.json"
    record.parent.mkdir(parents=True)
    record.write_text("{}")
    with pytest.raises(UsageError, match="give another one"):
        merge(*two, out=tmp_path / "run")
    assert not Path(tmp_path / "run" / "masks").exists()


@pytest.mark.fault("merge into a folder with masks merged from other runs", "error unless `overwrite=true`")
def test_masks_of_other_runs_are_not_replaced(run, tmp_path, make_clip):
    root = trees.ytvos(tmp_path / "y", make_clip, ["v"])
    runs = [run(name, root, memory__top_k=k) for name, k in (("a", 30), ("b", 5), ("c", 1))]
    assert merge(*runs[:2], out=tmp_path / "merged")[0] == 0
    assert merge(*runs[:2], out=tmp_path / "merged")[0] == 0
    with pytest.raises(UsageError, match="masks merged from other runs"):
        merge(*runs[1:], out=tmp_path / "merged")
    config = MergeConfig([str(folder) for folder in runs[1:]], str(tmp_path / "merged"), overwrite=True)
    assert merge_runs(config) == 0
