"""Scores of videos and folders: objects and frames that count, refused inputs, comparison with other tools."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import psutil
import pytest
import reference_metrics as twin
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from xmem_infer.errors import UsageError, VideoError
from xmem_infer.io.palette import davis_palette
from xmem_infer.scoring.metrics import METRICS
from xmem_infer.scoring.report import table, write_report
from xmem_infer.scoring.score_folders import score_folders
from xmem_infer.scoring.score_video import score_video
from xmem_infer.scoring.scores import Rules

SHARED = Path(__file__).resolve().parents[2].parent / "shared"
NAMES = {"J&F", "J", "F", "J_recall", "J_decay", "F_recall", "F_decay"}


def draw(rng, labels, shape=(24, 40)):
    mask = np.zeros(shape, np.uint8)
    for label in labels:
        y, x = rng.integers(0, shape[0] - 6), rng.integers(0, shape[1] - 8)
        mask[y : y + rng.integers(3, 7), x : x + rng.integers(3, 9)] = label
    return mask


def clip(seed, labels=(1, 2), frames=7, shape=(24, 40)):
    """Return predictions and annotations with all labels on every frame; predictions are shifted."""
    rng = np.random.default_rng(seed)
    annotations = [draw(rng, labels, shape) for _ in range(frames)]
    predictions = [np.roll(mask, rng.integers(-2, 3, 2), (0, 1)) for mask in annotations]
    for label in labels:  # a later label may have been painted over
        annotations[0][0, label % shape[1]] = label
    return predictions, annotations


def save(folder, masks, names=None, palette=True):
    folder.mkdir(parents=True, exist_ok=True)
    for name, mask in zip(names or [f"{i:05}" for i in range(len(masks))], masks, strict=True):
        image = Image.fromarray(mask)
        if palette:
            image.putpalette(davis_palette())
        image.save(folder / f"{name}.png")


def save_set(root, clips, **options):
    for name, (predictions, annotations) in clips.items():
        save(root / "predictions" / name, predictions, **options)
        save(root / "annotations" / name, annotations, **options)
    return root / "predictions", root / "annotations"


@pytest.fixture
def three(tmp_path):
    """Three clips on disk: (predictions folder, annotations folder, arrays by name)."""
    clips = {"ape": clip(1), "bee": clip(2, labels=(1, 2, 3)), "cat": clip(3, labels=(5,), frames=20)}
    return *save_set(tmp_path, clips), clips


@settings(max_examples=25)
@given(
    seed=st.integers(0, 10**6),
    frames=st.integers(3, 12),
    labels=st.sets(st.integers(1, 254), min_size=1, max_size=3),
    rules=st.sampled_from([Rules.davis16, Rules.davis17]),
    void=st.booleans(),
)
def test_a_video_is_bit_identical_to_the_reference(seed, frames, labels, rules, void):
    predictions, annotations = clip(seed, sorted(labels), frames, (13, 17))
    if void and rules is Rules.davis17:
        for mask in annotations:
            mask[:3, 4:9] = 255
        annotations[0][5, : len(labels)] = sorted(labels)
    expected = twin.score_video(predictions, annotations, rules.name)
    video = score_video(predictions, annotations, rules)
    for scored in video.objects:
        one = scored.measures
        names = [f"{metric}{part}" for metric in "JF" for part in ("", "_recall", "_decay")]
        assert [one[name] for name in names] == expected[scored.object_id]
    assert {scored.object_id for scored in video.objects} == expected.keys()
    assert video.measures == twin.mean_scores(expected.values())


def test_dataset_scores_are_means_over_objects(three):
    predictions, annotations, clips = three
    scores = score_folders(predictions, annotations)
    objects = [one for pair in clips.values() for one in twin.score_video(*pair, "davis17").values()]
    assert len(objects) == 6
    assert scores.measures == twin.mean_scores(objects)
    assert scores.measures.keys() == NAMES
    of_videos = np.mean([video.measures["J"] for video in scores.videos])
    assert scores.measures["J"] != of_videos  # videos of 2, 3 and 1 objects: the mean over videos differs


def test_scores_do_not_depend_on_the_number_of_processes(three):
    predictions, annotations, _ = three
    for side, masks in zip((predictions, annotations), clip(21, frames=200), strict=True):
        save(side / "dog", masks)  # many tasks, whose results arrive in any order
    alone, together = (score_folders(predictions, annotations, workers=workers) for workers in (1, 2))
    assert alone.measures == together.measures
    assert [video.name for video in together.videos] == ["ape", "bee", "cat", "dog"]
    for one, other in zip(alone.videos, together.videos, strict=True):
        assert one.frame_overall().tolist() == other.frame_overall().tolist()


def test_first_and_last_frame_are_not_scored(three):
    predictions, annotations, _ = three
    before = score_folders(predictions, annotations).measures
    for folder in predictions.iterdir():
        files = sorted(folder.iterdir())
        files[0].unlink()  # a tracker need not write the annotated first frame
        Image.new("L", (3, 3), 77).save(files[-1])
    assert score_folders(predictions, annotations).measures == before


def test_binary_masks_are_scored_by_davis16_rules(tmp_path):
    predictions, annotations = clip(4, labels=(1,))
    save(tmp_path / "ones" / "ape", predictions, palette=False)
    save(tmp_path / "full" / "ape", [mask * 255 for mask in predictions], palette=False)
    save(tmp_path / "annotations" / "ape", [mask * 255 for mask in annotations], palette=False)
    found = [score_folders(tmp_path / name, tmp_path / "annotations") for name in ("ones", "full")]
    assert [scores.rules for scores in found] == [Rules.davis16] * 2
    expected = twin.mean_scores(twin.score_video(predictions, annotations, "davis16").values())
    assert [scores.measures for scores in found] == [expected] * 2


def test_davis16_counts_the_object_before_it_appears():
    predictions, annotations = clip(22, labels=(1,), frames=9)
    for i in range(4):
        annotations[i][:] = predictions[i][:] = 0
    predictions[2][3:9, 3:9] = 1
    video = score_video(predictions, annotations, Rules.davis16)
    assert video.objects[0].values["J"][:3].tolist() == [1.0, 0.0, 1.0]
    assert len(video.objects[0].values["J"]) == 7


def test_davis16_joins_objects_and_davis17_ignores_void():
    predictions, annotations = clip(5)
    joined = score_video(predictions, annotations, Rules.davis16)
    assert [scored.object_id for scored in joined.objects] == [1]
    single = [[(mask > 0).astype(np.uint8) for mask in masks] for masks in (predictions, annotations)]
    assert joined.measures == score_video(*single, Rules.davis17).measures
    for mask in annotations:
        mask[:, :10] = 255
    annotations[0][10:12, 20] = 1, 2
    with_void = score_video(predictions, annotations, Rules.davis17)
    assert with_void.has_void
    changed = [mask.copy() for mask in predictions]
    for mask in changed:
        mask[:, :10] = 1
    assert score_video(changed, annotations, Rules.davis17).measures == with_void.measures


def test_a_late_object_counts_from_its_first_annotated_frame():
    predictions, annotations = clip(6, labels=(1,), frames=9)
    for i in range(4, 9):
        annotations[i][:5, :6] = 7
        predictions[i][:5, :5] = 7
    predictions[2][:5, :5] = 7  # too early: only object 1 loses the covered pixels
    late = score_video(predictions, annotations, Rules.davis17).objects[1]
    assert (late.object_id, late.start, len(late.values["J"])) == (7, 3, 4)
    assert set(late.values["J"].tolist()) == {25 / 30}
    gone = score_video([mask * (mask != 7) for mask in predictions], annotations, Rules.davis17).objects[1]
    assert gone.measures["J"] == 0.0


def test_an_object_only_on_the_last_frame_is_reported_not_averaged():
    predictions, annotations = clip(7, labels=(1,))
    annotations[-1][:3, :3] = 9
    video = score_video(predictions, annotations, Rules.davis17)
    assert ([scored.object_id for scored in video.objects], video.unscored) == ([1], (9,))


def test_an_absent_object_without_prediction_scores_one():
    predictions, annotations = clip(8, labels=(1, 2))
    for mask in (*predictions[3:], *annotations[3:]):
        mask[mask == 2] = 0
    assert score_video(predictions, annotations, Rules.davis17).objects[1].values["J"][2:].tolist() == [1.0] * 3


def test_only_annotated_frames_are_scored(tmp_path):
    predictions, annotations = clip(9, frames=21)
    save(tmp_path / "predictions" / "ape", predictions)
    save(tmp_path / "annotations" / "ape", annotations[::5], [f"{i:05}" for i in range(0, 21, 5)])
    scores = score_folders(tmp_path / "predictions", tmp_path / "annotations")
    assert scores.videos[0].frames == ("00005", "00010", "00015")
    assert scores.measures == score_video(predictions[::5], annotations[::5]).measures
    assert scores.pairs["ape"].unannotated == 16


def test_frames_are_in_natural_order(tmp_path):
    predictions, annotations = clip(10, frames=12)
    for name, masks in (("predictions", predictions), ("annotations", annotations)):
        save(tmp_path / name / "ape", masks, [str(i) for i in range(12)])
    (tmp_path / "annotations" / "ape" / "._3.png").write_bytes(b"macOS")
    (tmp_path / "annotations" / ".DS_Store").write_bytes(b"macOS")
    scores = score_folders(tmp_path / "predictions", tmp_path / "annotations")
    assert scores.videos[0].frames == tuple(str(i) for i in range(1, 11))
    assert scores.measures == score_video(predictions, annotations).measures


@pytest.mark.parametrize("level", ["Annotations/480p", "Annotations", "trainval/Annotations/480p", ".", "masks"])
def test_roots_of_data_sets_and_of_runs_are_found(tmp_path, level):
    predictions, annotations = clip(11)
    save(tmp_path / "run" / "masks" / "ape", predictions)
    (tmp_path / "run" / "overlay").mkdir()
    save(tmp_path / "set" / level / "ape", annotations)
    scores = score_folders(tmp_path / "run", tmp_path / "set")
    assert scores.measures == score_video(predictions, annotations).measures
    assert scores.predictions == tmp_path / "run" / "masks"


def test_one_video_can_be_given_by_its_own_folders(tmp_path):
    predictions, annotations = clip(12)
    save(tmp_path / "mine", predictions)
    save(tmp_path / "set" / "ape", annotations)
    scores = score_folders(tmp_path / "mine", tmp_path / "set" / "ape")
    assert scores.measures == score_video(predictions, annotations).measures
    with pytest.raises(UsageError, match="give annotations=<the folder of that video>"):
        score_folders(tmp_path / "mine", tmp_path / "set")


def test_videos_can_be_chosen(three):
    predictions, annotations, _ = three
    save(annotations / "dog", clip(13)[1])
    scores = score_folders(predictions, annotations, videos=["cat", "ape", "dog"])
    assert [video.name for video in scores.videos] == ["cat", "ape"]
    assert scores.problems.keys() == {"dog"}
    with pytest.raises(UsageError, match="has a folder eel; there are ape, bee, cat and 1 more"):
        score_folders(predictions, annotations, videos=["cat", "eel"])


def replace(path, mask):
    Image.fromarray(mask).save(path)


def make_missing_frame(video):
    (video / "00003.png").unlink()


def make_missing_video(video):
    shutil.rmtree(video)


def make_empty_video(video):
    for path in video.iterdir():
        path.rename(path.with_suffix(".jpg"))


def make_other_size(video):
    replace(video / "00002.png", np.zeros((12, 20), np.uint8))


def make_unknown_label(video):
    replace(video / "00004.png", np.full((24, 40), 4, np.uint8))


def make_smoothed(video):
    replace(video / "00004.png", (np.arange(24 * 40) % 256).astype(np.uint8).reshape(24, 40))


def make_rgb(video):
    replace(video / "00001.png", np.zeros((24, 40, 3), np.uint8))


def make_16_bit(video):
    replace(video / "00001.png", np.zeros((24, 40), np.uint16))


def make_truncated(video):
    whole = (video / "00005.png").read_bytes()
    (video / "00005.png").write_bytes(whole[: len(whole) // 2])


def make_not_png(video):
    (video / "00005.png").write_text("<html>404</html>")


def make_duplicate_frame(video):
    shutil.copy(video / "00005.png", video / "00005.PNG")


def make_decompression_bomb(video):
    header = (video / "00001.png").read_bytes()
    wide = (60_000).to_bytes(4, "big")
    chunk = b"IHDR" + wide + wide + header[24:29]
    (video / "00001.png").write_bytes(header[:12] + chunk + zlib.crc32(chunk).to_bytes(4, "big") + header[33:])


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (make_missing_frame, "1 of 5 predictions missing in .*bee: 00003 .*found 00000, 00001, 00002"),
        (make_missing_video, "no predictions: there is no folder bee in"),
        (make_empty_video, "5 of 5 predictions missing .*found no PNG files at all"),
        (make_other_size, "frame 00002: the prediction is 20x12, the annotation 40x24"),
        (make_unknown_label, "frame 00004: the prediction has label.* 4.* the annotations .* only labels 1, 2, 3"),
        (make_smoothed, "frame 00004: .* smoothed edges"),
        (make_rgb, "frame 00001: .*pixels of kind RGB"),
        (make_16_bit, "frame 00001: .*pixels of kind I;16"),
        (make_truncated, "frame 00005: .*00005.png cannot be read"),
        (make_not_png, "frame 00005: .*00005.png is not a JPEG, PNG"),
        (make_duplicate_frame, "two files for frame 00005"),
        (make_decompression_bomb, "frame 00001: .*00001.png declares more than 100,000,000 pixels"),
    ],
)
@pytest.mark.fault(
    "predictions with a fault: {spoil}", "that video is not scored, with a reason; no dataset score is reported"
)
def test_invalid_predictions_are_reported_and_the_rest_scored(three, spoil, told):
    predictions, annotations, clips = three
    spoil(predictions / "bee")
    scores = score_folders(predictions, annotations)
    assert scores.problems.keys() == {"bee"}
    assert re.search(told, scores.problems["bee"]), scores.problems["bee"]
    assert [video.name for video in scores.videos] == ["ape", "cat"]
    assert scores.measures is None
    others = [one for name in ("ape", "cat") for one in twin.score_video(*clips[name], "davis17").values()]
    assert scores.measures_of_scored == twin.mean_scores(others)


def test_a_video_without_annotations_is_reported(three):
    predictions, annotations, _ = three
    shutil.rmtree(annotations / "bee")
    scores = score_folders(predictions, annotations)
    assert "no annotations: there is no folder bee" in scores.problems["bee"]


def test_an_extra_video_is_reported_unless_it_has_no_masks(three):
    predictions, annotations, clips = three
    (predictions / "logs").mkdir()
    assert not score_folders(predictions, annotations).problems
    save(predictions / "dog", clips["ape"][0])
    assert score_folders(predictions, annotations).problems.keys() == {"dog"}


def test_two_frames_or_no_object_cannot_be_scored(tmp_path):
    short, empty = clip(13, frames=2), clip(14)
    save_set(tmp_path, {"short": short, "empty": (empty[0], [mask * 0 for mask in empty[1]]), "ape": clip(15)})
    scores = score_folders(tmp_path / "predictions", tmp_path / "annotations")
    assert "at least 3 are needed" in scores.problems["short"]
    assert "no object is annotated" in scores.problems["empty"]


def test_davis16_refuses_more_labels_than_the_annotated_object():
    predictions, annotations = clip(16)
    with pytest.raises(VideoError, match=r"labels 1, 2, but .* only label 1"):
        score_video(predictions, [np.minimum(mask, 1) for mask in annotations], Rules.davis16)


def test_binary_predictions_under_davis17_give_a_hint():
    predictions, annotations = clip(17, labels=(1,))
    with pytest.raises(VideoError, match="rules=davis16"):
        score_video([mask * 255 for mask in predictions], annotations, Rules.davis17)


def test_arrays_of_other_sizes_or_numbers_are_refused():
    predictions, annotations = clip(18)
    with pytest.raises(VideoError, match="frame 2: the prediction is 20x12"):
        score_video([*predictions[:2], np.zeros((12, 20), np.uint8), *predictions[3:]], annotations)
    with pytest.raises(VideoError, match="7 annotations"):
        score_video(predictions[1:], annotations)


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (lambda path: None, "does not exist"),
        (lambda path: path.mkdir(), "it is empty"),
        (lambda path: path.write_text("x"), "is a file"),
        (lambda path: save(path / "ape" / "deeper", clip(0)[0]), "no PNG masks"),
    ],
)
@pytest.mark.fault("folder without masks to score", "error: {told}")
def test_a_folder_without_masks_is_a_usage_error(tmp_path, make, told):
    save(tmp_path / "good" / "ape", clip(0)[1])
    make(tmp_path / "bad")
    with pytest.raises(UsageError, match=told):
        score_folders(tmp_path / "good", tmp_path / "bad")


def test_worst_frames_come_first():
    _, annotations = clip(19, labels=(1,), frames=6)
    predictions = [mask.copy() for mask in annotations]
    predictions[3][:] = 0
    predictions[2][predictions[2].nonzero()[0][0]] = 0
    worst = score_video(predictions, annotations).worst_frames(2)
    assert [frame for frame, _ in worst] == ["3", "2"]
    assert worst[0][1] == 0.0


def test_worst_frames_are_spread_over_the_video():
    _, annotations = clip(19, labels=(1,), frames=82)
    predictions = [mask.copy() for mask in annotations]
    for i in range(30, 50):  # a long sequence of bad frames
        predictions[i][:] = 0
    predictions[70][:] = 0
    worst = [int(frame) for frame, _ in score_video(predictions, annotations).worst_frames(8)]
    assert worst[:4] == [30, 38, 46, 70]
    assert len(worst) >= 6
    assert min(abs(a - b) for a in worst for b in worst if a != b) >= 8


def share_of_pixels(predicted, annotated, size):
    """A plugin metric: the share of the frame's pixels on which both agree."""
    return 1 - float(np.count_nonzero(predicted != annotated)) / (size[0] * size[1])


@pytest.fixture
def agreement(monkeypatch):
    monkeypatch.setitem(METRICS._entries, "agreement", share_of_pixels)


@pytest.mark.parametrize("workers", [1, 2])
def test_a_registered_metric_is_scored_in_addition_to_j_and_f(three, tmp_path, agreement, workers):
    predictions, annotations, clips = three
    usual = score_folders(predictions, annotations)
    both = score_folders(predictions, annotations, workers=workers, metrics=["J", "F", "agreement"])
    assert {name: both.measures[name] for name in usual.measures} == usual.measures
    ape = [pair[1:-1] for pair in clips["ape"]]
    expected = np.mean([((p == 1) == (a == 1)).mean() for p, a in zip(*ape, strict=True)])
    assert both.videos[0].objects[0].measures["agreement"] == pytest.approx(expected)
    write_report(both, tmp_path / "out")
    written = json.loads((tmp_path / "out" / "scores.json").read_text())
    assert list(written)[:4] == ["J&F", "J", "F", "agreement"]
    assert {"agreement_recall", "agreement_decay"} <= written["videos"]["ape"].keys()
    assert "agreement" in (tmp_path / "out" / "scores.csv").read_text().splitlines()[0]


def test_a_single_metric_is_the_overall_score(three, tmp_path):
    predictions, annotations, _ = three
    alone = score_folders(predictions, annotations, metrics=["F"])
    assert list(alone.measures) == ["F", "F_recall", "F_decay"]
    assert alone.measures.overall == score_folders(predictions, annotations).measures["F"]
    assert alone.videos[0].worst_frames(1)[0][1] == min(alone.videos[0].frame_overall())
    assert "J&F" not in table(alone)


def test_an_unregistered_metric_is_refused_by_name(three):
    with pytest.raises(UsageError, match=r"metrics=j: .* J, F"):
        score_folders(*three[:2], metrics=["j"])


def vos_benchmark(annotations, predictions):
    package = pytest.importorskip("vos_benchmark.benchmark", reason="vos-benchmark (extra dev) is not installed")
    _, _, _, videos = package.benchmark([str(annotations)], [str(predictions)], num_processes=1, verbose=False)
    return videos[0]


def assert_same_as_vos_benchmark(annotations, predictions):
    scores = score_folders(predictions, annotations)
    theirs = vos_benchmark(annotations, predictions)
    assert {video.name for video in scores.videos} == theirs.keys()
    for video in scores.videos:
        j, f = theirs[video.name]
        ours = [(100 * scored.measures["J"], 100 * scored.measures["F"]) for scored in video.objects]
        assert ours == [(j[label], f[label]) for label in sorted(j)]


def test_scores_equal_vos_benchmark_if_the_rules_agree(tmp_path):
    """The rules agree if no object is predicted before it is annotated, and no label is void."""
    rng = np.random.default_rng(20)
    clips = {}
    for name, labels in (("ape", (1,)), ("bee", (1, 2, 5)), ("cat", (3, 4))):
        predictions, annotations = clip(int(rng.integers(99)), labels, 12, (60, 90))
        annotations[1] = annotations[1].copy()
        annotations[1][0, : len(labels)] = labels  # vos-benchmark starts at an object's first appearance after frame 0
        clips[name] = (predictions, annotations)
    predictions, annotations = save_set(tmp_path, clips)
    assert_same_as_vos_benchmark(annotations, predictions)


def test_scores_equal_vos_benchmark_on_real_masks(tmp_path):
    source = SHARED / "data" / "davis2016_dev" / "Annotations" / "480p"
    if not source.is_dir():
        pytest.skip("../shared/data/davis2016_dev is not here")
    for name in ("dog-agility", "motorbike"):
        for i, path in enumerate(sorted((source / name).iterdir())[:20]):
            (tmp_path / "annotations" / name).mkdir(parents=True, exist_ok=True)
            shutil.copy(path, tmp_path / "annotations" / name / path.name)
            moved = np.roll(np.asarray(Image.open(path)), (i % 5, -i), (0, 1))
            save(tmp_path / "predictions" / name, [moved * (i != 7)], [path.stem], palette=False)
    assert_same_as_vos_benchmark(tmp_path / "annotations", tmp_path / "predictions")


WAITING = """
import os
import signal
import sys
import time
from xmem_infer.scoring.metrics import METRICS
from xmem_infer.scoring.score_folders import score_folders


@METRICS.register("slow")
def slow(*masks):
    os.write(2, b"scoring\\n")  # one write, since two processes may do this at the same time
    time.sleep(0.05)
    return 1.0


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored if the tests run in the background of a shell
    score_folders(sys.argv[1], sys.argv[2], workers=2, metrics=["slow"])
    print("done")
"""


@pytest.mark.skipif(os.name == "nt", reason="signals to a process group are POSIX")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
@pytest.mark.fault("signal {number} while scoring in worker processes", "all processes end")
def test_a_signal_ends_all_processes(tmp_path, number):
    save_set(tmp_path, {f"clip{i}": clip(i, frames=60) for i in range(2)})
    script = tmp_path / "script.py"
    script.write_text(WAITING)
    for i in range(2, 24):  # enough links for half a minute of work
        for side in ("predictions", "annotations"):
            (tmp_path / side / f"clip{i}").symlink_to(tmp_path / side / f"clip{i % 2}")
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[2])}
    command = [sys.executable, script, tmp_path / "predictions", tmp_path / "annotations"]
    process = subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True
    )
    assert process.stderr.readline() == b"scoring\n"
    while len(helpers := psutil.Process(process.pid).children(recursive=True)) < 2:
        assert process.poll() is None
    if number == signal.SIGINT:
        os.killpg(process.pid, number)  # as a terminal does: to all processes
    else:
        process.kill()
    out, error = process.communicate(timeout=60)
    assert (out, process.returncode) == (b"", -number), error.decode()
    left = psutil.wait_procs(helpers, timeout=60)[1]
    assert [one for one in left if one.status() != psutil.STATUS_ZOMBIE] == []
