"""From made-up runs to savings, tables and pictures."""

import csv
from dataclasses import replace

import numpy as np
import pytest
from ablation_clip import write_clip
from PIL import Image

from xmem_infer.config import DataConfig, GradMode, Precision
from xmem_infer.lab.ablation.clip import open_clip
from xmem_infer.lab.ablation.comparisons import agreements, savings
from xmem_infer.lab.ablation.config import MatrixConfig
from xmem_infer.lab.ablation.plan import Scene
from xmem_infer.lab.ablation.report import write_report
from xmem_infer.lab.ablation.runs import Run, merge_repeats

MB = 10**6
SCENE = Scene(48, 2, 8)


def run(mode, peaks, precision=Precision.fp32, status="ok", repeat=0, masks=None, sha="a", scene=SCENE):
    return Run(
        scene, precision, mode, repeat, status, "stopped" if status == "oom" else "", len(peaks),
        max(peaks) * MB, 20 * MB, 500 * MB, None, sha, [5.0, 7.0], [p * MB for p in peaks], [p * MB for p in peaks],
        masks,
    )  # fmt: skip


@pytest.fixture
def runs():
    return [
        run(GradMode.set_grad_enabled, [70] * 8),
        run(GradMode.inference_mode, [70] * 8),
        run(GradMode.enable_grad_detached, [100] * 8),
        run(GradMode.enable_grad, [100, 200, 350], status="oom", sha="cut short"),
        run(GradMode.set_grad_enabled, [70] * 8, repeat=1),
    ]


def test_repeats_are_joined(runs):
    found = merge_repeats(runs)
    assert [str(one) for one in found] == [str(one) for one in runs[:4]]
    assert (found[0].p50_ms, len(found[0].times_ms)) == (6, 4)
    assert (found[3].status, found[3].frames_done) == ("oom", 3)


def test_savings_by_hand(runs):
    cut, on = savings(merge_repeats(runs))
    assert (cut.baseline, cut.at_least) == (GradMode.enable_grad_detached, False)
    assert cut.with_network == pytest.approx(0.30)
    assert cut.without_network == pytest.approx(1 - 50 / 80)
    assert (on.baseline, on.at_least) == (GradMode.enable_grad, True)
    assert on.with_network == pytest.approx(0.80)


def test_a_baseline_stopped_too_early_says_nothing(runs):
    runs[3] = run(GradMode.enable_grad, [60], status="oom")
    assert [saving.baseline for saving in savings(merge_repeats(runs))] == [GradMode.enable_grad_detached]


def test_masks_are_compared_and_scored(tmp_path, make_clip):
    _, masks = write_clip(tmp_path / "set", make_clip)
    clip = open_clip(str(tmp_path / "set"), None, DataConfig())
    spoilt = masks.copy()
    spoilt[3] = np.where(masks[3] == 1, 0, masks[3])
    (true, true_jf), (differing, jf) = agreements(
        [
            run(GradMode.no_grad, [1] * 8, masks=masks),
            run(GradMode.no_grad, [1] * 8, Precision.bf16, masks=spoilt),
        ],
        clip,
    ).values()
    assert (true, true_jf) == (0, 1)
    assert differing == pytest.approx((masks[3] == 1).mean() / 7)
    assert jf == pytest.approx(1 - 1 / 12)  # one of two objects lost on one of six scored frames


def test_cut_objects_are_scored_as_the_ones_they_were_cut_from(tmp_path, make_clip):
    _, masks = write_clip(tmp_path / "set", make_clip)
    clip = open_clip(str(tmp_path / "set"), None, DataConfig())
    parts = masks.copy()
    largest = 1 if (masks[0] == 1).sum() >= (masks[0] == 2).sum() else 2
    for part in parts:
        columns = np.nonzero(part == largest)[1]
        middle = np.median(columns) if columns.size else 0
        part[(part == largest) & (np.arange(part.shape[1]) > middle)] = 3
    cut = run(GradMode.no_grad, [1] * 8, masks=parts, scene=Scene(48, 3, 8))
    assert agreements([cut], clip)[cut.condition] == (0, 1)


@pytest.fixture
def write(tmp_path, make_clip):
    write_clip(tmp_path / "set", make_clip)
    clip = open_clip(str(tmp_path / "set"), None, DataConfig())
    where = {"device": "cpu", "clip": "c", "weights": "w", "versions": "torch 2"}

    def report(runs, name="out"):
        write_report(MatrixConfig(), where, runs, clip, tmp_path / name)
        return tmp_path / name

    return report


def test_the_report_says_what_was_measured(runs, write):
    folder = write(runs)
    text = (folder / "report.md").read_text()
    assert "oom in frame 3" in text
    assert "30.0%" in text
    assert "more than 80.0%" in text
    assert "to the bit" in text  # the masks of a run cut short are not compared
    rows = list(csv.DictReader((folder / "results.csv").open()))
    assert len(rows) == 5
    assert (rows[3]["status"], rows[3]["held_bytes_by_frame"]) == ("oom", "100000000 200000000 350000000")


def test_modes_that_disagree_are_named(runs, write):
    runs[1] = replace(runs[1], masks_sha256="b")
    assert "do **not** agree" in (write(runs) / "report.md").read_text()


def test_pictures_are_whole_and_repeat(runs, write):
    first, second = write(runs, "a"), write(runs, "b")
    shown = {"memory_by_frame.png", "saving.png"}
    assert {path.name for path in first.glob("*.png")} == shown
    for name in shown:
        assert (first / name).read_bytes() == (second / name).read_bytes()
        Image.open(first / name).verify()
