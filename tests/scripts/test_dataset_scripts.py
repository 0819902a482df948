"""Datasets and score merging as users run them: exit codes and output files."""

import shutil

import dataset_trees as trees
import pytest
from commands import in_process


@pytest.fixture
def run(tmp_path):
    def start(script, *overrides):
        return in_process(script, *overrides, cwd=tmp_path)

    return start


def test_a_benchmark_in_one_command_and_its_scores_merged(run, tmp_path, make_clip, tiny_weights):
    trees.davis(tmp_path / "davis", make_clip, ["a", "b"], "2016/val.txt", single=True)
    settings = [
        "dataset=davis16_val", "data_root=davis", f"weights={tiny_weights}", "runtime.threads=1",
        "runtime.precision=fp32", "output.overlay=false", "output.preview=false", "output.scores=true",
    ]  # fmt: skip
    done = run("eval.py", *settings, "data.size=48")
    assert done.returncode == 0, done.stderr
    assert "mean over objects" in done.stdout  # the table goes to standard output, log lines do not
    assert "DAVIS-2016 val has 20" in done.stdout
    out = tmp_path / "output" / "davis16_val"
    assert (out / "scores.csv").is_file()
    alone = run("score.py", f"predictions={out}", "annotations=davis", "output_dir=alone", "worst_frames=0")
    assert alone.returncode == 0, alone.stderr
    assert (tmp_path / "alone" / "scores.csv").read_bytes() == (out / "scores.csv").read_bytes()
    shutil.copytree(out / "scores", tmp_path / "again" / "scores")
    merged = run("merge_scores.py", f"runs=[{out},again]")
    assert merged.returncode == 0, merged.stderr
    assert len(list((tmp_path / "output" / "merged" / "masks").rglob("*.png"))) == 2 * trees.FRAMES


@pytest.mark.parametrize(
    ("script", "overrides", "words"),
    [
        ("eval.py", ["dataset=davis18_val", "data_root=davis"], ["davis18_val", "davis17_val"]),
        ("merge_scores.py", ["runs=[davis]"], ["scores"]),
    ],
)
def test_bad_requests(run, tmp_path, make_clip, script, overrides, words):
    trees.davis(tmp_path / "davis", make_clip, ["a"], "2016/val.txt", annotated=(0,))
    done = run(script, *overrides)
    assert done.returncode == 2, done.stderr
    for word in words:
        assert word in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "output").exists()
