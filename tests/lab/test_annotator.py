"""The simulated annotator: clicks by definition, and its command on a small clip."""

import subprocess
import sys

import numpy as np
import pytest
from commands import ROOT, in_process

from xmem_infer.lab.first_mask import clicks_needed, next_click, object_masks


def test_the_next_click_is_in_the_middle_of_the_largest_fault():
    true, found = np.zeros((40, 60), bool), np.zeros((40, 60), bool)
    true[10:31, 10:31] = True
    found[:3, 50:] = True
    assert next_click(found, true) == (20.5, 20.5, 1)
    assert next_click(found | true, true)[2] == -1


def test_clicks_that_do_not_suffice_count_as_the_most():
    assert clicks_needed([[0.5, 0.9], [0.9], [0.2, 0.3, 0.4]]) == (pytest.approx(11 / 3), 1)


def test_specks_are_not_marked():
    labels = np.zeros((40, 40), np.uint8)
    labels[:20, :20], labels[30, 30] = 3, 4
    assert [mask.sum() for mask in object_masks(labels)] == [400]


@pytest.mark.parametrize("setting", [("--frames", "2"), ("--frames", "0"), ("--seeds", "0")])
def test_too_few_frames_or_seeds_are_refused(setting, tmp_path):
    done = in_process("annotator.py", ROOT / "examples" / "clip", "--weights", "xmem-tiny", *setting, cwd=tmp_path)
    assert done.returncode == 2 and f"{setting[0].lstrip('-')}={setting[1]} is not possible" in done.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_the_command_prints_both_tables_and_writes_the_report(tmp_path):
    command = [sys.executable, "scripts/annotator.py", "examples/clip", "--weights", "xmem-tiny", "--size", "96"]
    done = subprocess.run(
        [*command, "--frames", "6", "--seeds", "1", "--report", tmp_path], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    for words in (
        "| **mean** | suggested |",
        "| **mean** | truly worst |",
        "| grabcut | a box |",
        "| walker | a click |",
    ):
        assert words in done.stdout
    assert done.stdout.strip() in (tmp_path / "report.md").read_text()
