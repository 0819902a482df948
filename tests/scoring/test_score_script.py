"""`scripts/score.py` as users run it: exit codes, table, written files and pictures."""

import csv
import json
import shutil
import sys
from functools import partial

import numpy as np
import pytest
from commands import as_process
from commands import in_process as command
from logs import logged
from PIL import Image

from xmem_infer.cli.commands import exit_code
from xmem_infer.errors import EnvironmentFault
from xmem_infer.io.palette import visible_colours
from xmem_infer.scoring.pictures import close_up, draw_comparison
from xmem_infer.scoring.score_folders import ScoreConfig, score, score_folders

FIGURES = ("J&F", "J", "F", "J_recall", "J_decay", "F_recall", "F_decay")


@pytest.fixture
def tree(tmp_path):
    """The output of a run with masks of three videos, and a DAVIS tree with their annotations and frames."""
    rng = np.random.default_rng(0)
    for video, labels in (("ape", (1,)), ("bee", (1, 2)), ("cat", (2, 7))):
        for i in range(7):
            annotation = np.zeros((48, 64), np.uint8)
            for k, label in enumerate(labels):
                annotation[8 + i : 30 + i, 5 + 28 * k : 25 + 28 * k] = label
            save(tmp_path / "run/masks" / video / f"{i:05}.png", np.roll(annotation, rng.integers(0, 4, 2), (0, 1)))
            save(tmp_path / "set/Annotations/480p" / video / f"{i:05}.png", annotation)
            picture = rng.integers(0, 256, (48, 64, 3), np.uint8)
            save(tmp_path / "set/JPEGImages/480p" / video / f"{i:05}.jpg", picture)
    return tmp_path


def save(path, pixels):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


run = partial(command, "score.py")


def in_process(tree, **settings):
    """Return (exit code, standard output, log)."""
    config = ScoreConfig(
        **{"predictions": str(tree / "run"), "annotations": str(tree / "set"), "workers": 1, **settings}
    )
    with logged("xmem_infer.tables") as shown, logged("xmem_infer.scoring") as said:
        return score(config), "\n".join(shown), "\n".join(said)


def test_the_command_scores_and_writes_everything(tree):
    done = as_process("score.py", "predictions=run", "annotations=set", "workers=2", "worst_frames=3", cwd=tree)
    assert done.returncode == 0, done.stderr
    expected = score_folders(tree / "run", tree / "set")
    written = json.loads((tree / "run/scores.json").read_text())
    assert {name: written[name] for name in FIGURES} == expected.measures
    assert written["complete"] is True
    assert written["problems"] == {}
    assert written["provenance"]["rules"] == "davis17"
    assert written["provenance"]["predictions"] == str(tree / "run/masks")
    bee = written["videos"]["bee"]
    assert bee["J"] == expected.videos[1].measures["J"]
    assert bee["objects"]["2"]["F"] == expected.videos[1].objects[1].measures["F"]
    assert [entry["frame"] for entry in bee["worst_frames"]] == [
        frame for frame, _ in expected.videos[1].worst_frames(3)
    ]
    rows = list(csv.DictReader((tree / "run/scores.csv").open()))
    assert [row["level"] for row in rows] == ["object", "video", "object", "object", "video"] + ["object"] * 2 + [
        "video",
        "set",
    ]
    assert float(rows[-1]["J&F"]) == expected.measures.overall
    assert rows[-1]["frames"] == "15"
    last = done.stdout.splitlines()[-1].split()
    assert last == [
        "mean",
        "over",
        "objects",
        "5",
        "15",
        *(f"{100 * x:.2f}" for x in expected.measures.values()),
    ]
    files = {str(path.relative_to(tree / "run")) for path in (tree / "run").rglob("*") if path.is_file()}
    reports = {
        "scores.csv",
        "scores.json",
        "scores.png",
        "scores.svg",
        "worst/ape.png",
        "worst/bee.png",
        "worst/cat.png",
    }
    assert {name for name in files if not name.startswith("masks/")} == reports
    assert not (tree / "outputs").exists()  # Hydra's default folder


def test_unscored_videos_are_reported_with_exit_code_1(tree):
    assert in_process(tree)[0] == 0
    assert (tree / "run/worst/bee.png").exists()
    save(tree / "run/masks/bee/00003.png", np.full((48, 64), 9, np.uint8))
    done = run("predictions=run", "annotations=set", "workers=1", cwd=tree)
    assert done.returncode == 1
    assert "not scored: bee: frame 00003: the prediction has label" in done.stderr
    assert "mean of 2 of 3 videos only" in done.stdout
    assert "mean over objects" not in done.stdout
    written = json.loads((tree / "run/scores.json").read_text())
    assert [written[name] for name in FIGURES] == [None] * 7
    assert written["complete"] is False
    assert written["problems"].keys() == {"bee"}
    assert written["videos"].keys() == {"ape", "cat"}
    assert written["mean_of_scored"]["J"] == score_folders(tree / "run", tree / "set").measures_of_scored["J"]
    assert "set" not in {row["level"] for row in csv.DictReader((tree / "run/scores.csv").open())}
    assert not (tree / "run/worst/bee.png").exists()  # the sheet of the older run would be wrong


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["prediction=run", "annotations=set"], "Did you mean predictions?"),
        (["predictions=run", "annotations=set", "rules=davis18"], "auto, davis16, davis17"),
        (["predictions=run", "annotations=set", "workers=0"], "workers=0 is not possible"),
        (["predictions=run"], "annotations is not given"),
        (["predictions=gone", "annotations=set"], "predictions=gone does not exist"),
    ],
)
def test_wrong_requests_give_exit_code_2_and_list_the_choices(tree, arguments, told):
    done = run(*arguments, cwd=tree)
    assert done.returncode == 2, done.stderr
    assert told in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tree / "run/scores.json").exists()


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"output_dir": "run/masks"}, "is the folder of masks itself"),
        ({"images": "gone"}, "images=gone does not exist"),
        ({"videos": "gone.txt"}, "videos=gone.txt cannot be read"),
        ({"videos": "run"}, "videos=run cannot be read"),
    ],
)
def test_wrong_settings_are_refused_before_anything_is_scored(tree, monkeypatch, settings, told):
    monkeypatch.chdir(tree)
    with pytest.raises(Exception, match=told) as refused:
        in_process(tree, **settings)
    assert exit_code(refused.value) == 2
    assert not (tree / "run/scores.json").exists()


@pytest.mark.fault("report cannot be written", "exit code 3")
def test_a_report_that_cannot_be_written_gives_exit_code_3(tree):
    (tree / "file").write_text("in the way")
    with pytest.raises(EnvironmentFault, match="cannot write"):
        in_process(tree, output_dir=str(tree / "file" / "out"))


def test_a_list_of_videos_and_another_output(tree):
    (tree / "val.txt").write_text("cat\nape\n\n")
    code, shown, _ = in_process(tree, videos=str(tree / "val.txt"), output_dir=str(tree / "new/out"), worst_frames=0)
    assert code == 0
    assert [line.split()[0] for line in shown.splitlines()[3:5]] == ["cat", "ape"]
    assert {path.name for path in (tree / "new/out").iterdir()} == {
        "scores.csv",
        "scores.json",
        "scores.png",
        "scores.svg",
    }


def test_videos_are_selected_on_the_command_line(tree):
    done = run("predictions=run", "annotations=set", "videos=[cat,ape]", "output_dir=out", "workers=1", cwd=tree)
    assert done.returncode == 0, done.stderr
    assert json.loads((tree / "out/scores.json").read_text())["videos"].keys() == {"cat", "ape"}


@pytest.mark.fault(
    "video names that do not exist", "exit code 2, error lists the existing names; an earlier report is unchanged"
)
def test_names_of_nonexistent_videos_are_refused(tree):
    assert in_process(tree)[0] == 0
    before = (tree / "run/scores.json").read_bytes()
    for videos in ("[dog]", "[ape,dog]"):
        done = run("predictions=run", "annotations=set", f"videos={videos}", "workers=1", cwd=tree)
        assert done.returncode == 2, done.stderr
        assert "nor run/masks has a folder dog; there are ape, bee, cat" in done.stderr
        assert (tree / "run/scores.json").read_bytes() == before
        assert (tree / "run/worst/ape.png").exists()


@pytest.mark.fault("no video can be scored", "exit code 1, an earlier report is unchanged")
def test_if_nothing_is_scored_an_earlier_report_is_kept(tree):
    assert in_process(tree)[0] == 0
    before = {path: path.read_bytes() for path in (tree / "run").rglob("*") if path.is_file()}
    shutil.move(tree / "set/Annotations/480p/ape", tree / "other/ape")
    code, shown, said = in_process(tree, annotations=str(tree / "other"), videos=["bee"])
    assert (code, shown) == (1, "")
    assert "not scored: bee: no annotations" in said
    assert "nothing could be scored, so nothing was written" in said
    assert {path: path.read_bytes() for path in (tree / "run").rglob("*") if path.is_file()} == before


def test_worst_frames_are_shown_close_up(tree):
    in_process(tree)
    mask = np.zeros((480, 854), np.uint8)
    mask[100:130, 800:840] = 2
    rows, columns = close_up(mask)
    assert (rows.stop - rows.start, columns.stop - columns.start) == (120, 214)  # a quarter of the frame
    assert rows.start < 100 and rows.stop > 130 and columns.start < 800 and columns.stop == 854
    assert close_up(mask * 0) == (slice(0, 480), slice(0, 854))
    mask[:] = 1
    assert close_up(mask) == (slice(0, 480), slice(0, 854))


def test_the_report_of_one_video_is_not_written_beside_its_masks(tree, monkeypatch):
    monkeypatch.chdir(tree)
    settings = {"predictions": str(tree / "run/masks/ape"), "annotations": str(tree / "set/Annotations/480p/ape")}
    assert in_process(tree, **settings)[0] == 0
    assert (tree / "output/ape/worst/ape.png").exists()


def test_the_same_masks_give_the_same_bytes(tree):
    def contents():
        in_process(tree)
        return {path: path.read_bytes() for path in (tree / "run").rglob("*") if path.is_file()}

    assert contents() == contents()


def test_the_chart_of_one_video_is_not_clipped(tree):
    for video in ("bee", "cat"):
        shutil.rmtree(tree / "run/masks" / video)
        shutil.rmtree(tree / "set/Annotations/480p" / video)
    in_process(tree)
    chart = np.asarray(Image.open(tree / "run/scores.png").convert("L"))
    for edge in (chart[0], chart[-1], chart[:, 0], chart[:, -1]):
        assert edge.min() == 255


@pytest.mark.fault("matplotlib is not installed", "scores without a chart; a note names the package to install")
def test_without_matplotlib_there_is_a_note_instead_of_a_chart(tree, monkeypatch):
    in_process(tree)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    code, _, said = in_process(tree)
    assert code == 0
    assert "no bar chart: it needs matplotlib" in said
    assert not (tree / "run/scores.png").exists()  # the chart of the older run
    assert (tree / "run/worst/ape.png").exists()


def test_notes_list_what_was_not_scored(tree):
    void = np.zeros((48, 64), np.uint8)
    void[:4], void[10:20, 10:20], void[30:40, 30:40] = 255, 1, 2
    save(tree / "set/Annotations/480p/bee/00002.png", void)
    (tree / "set/Annotations/480p/cat/00003.png").unlink()
    late = np.asarray(Image.open(tree / "set/Annotations/480p/ape/00006.png")).copy()
    late[:3, :3] = 8
    save(tree / "set/Annotations/480p/ape/00006.png", late)
    code, _, said = in_process(tree)
    assert code == 0
    assert "left out in bee" in said
    assert "1 predicted frame without an annotation" in said
    assert "ape: object 8 appears on the last frame only" in said


def test_sheets_show_frames_behind_the_masks_if_found(tree):
    in_process(tree)
    with_pictures = (tree / "run/worst/ape.png").read_bytes()
    (tree / "set/JPEGImages").rename(tree / "pictures")
    in_process(tree)
    assert (tree / "run/worst/ape.png").read_bytes() != with_pictures
    in_process(tree, images=str(tree / "pictures/480p"))
    assert (tree / "run/worst/ape.png").read_bytes() == with_pictures


def test_sheets_fill_predictions_and_outline_annotations():
    picture = np.full((60, 80, 3), 100, np.uint8)
    prediction, annotation = np.zeros((2, 30, 40), np.uint8)  # half the size of the frame
    prediction[5:15, 5:15], annotation[12:25, 20:35] = 1, 2
    colours = visible_colours(None)
    drawn = draw_comparison(picture, prediction, annotation, colours)
    assert drawn[20, 20].tolist() == np.rint(0.5 * 100 + 0.5 * colours[1]).tolist()  # inside the prediction
    assert drawn[3, 3].tolist() == [100, 100, 100]  # neither
    assert drawn[36, 55].tolist() == [100, 100, 100]  # inside the annotation: only its outline is drawn
    outline = drawn[36, 39].tolist()
    assert outline[1] == max(outline) > 150  # the lightened green of object 2
    assert picture.max() == 100  # the given frame is unchanged
