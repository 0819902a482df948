"""J&F against milliseconds: the command, and what its calls share."""

from pathlib import Path

import pytest
import torch
from commands import in_process

from xmem_infer.lab import trade_off
from xmem_infer.lab.trade_off import ONE, PUBLISHED, TIMED_ON, TWO, read_rows, score_clips, time_frames, write_trade_off
from xmem_infer.lab.training.validation import CARRIED, COPIED
from xmem_infer.weights.manifest import embedded_model

ROOT = Path(__file__).resolve().parents[2]
CLIPS = ROOT / "examples" / "clip"
FIRST_GENERATION = ROOT / "weights" / "xmem-tiny-1.safetensors"  # it was validated on its way


def test_the_command_adds_to_its_table(tmp_path):
    head, timed = f'method,"{ONE}","{TWO}",{TIMED_ON}', f"{COPIED},0.00,0.00,slow\n{CARRIED},30.00,31.00,fast"
    (tmp_path / "trade_off.csv").write_text(f"{head}\n{timed}\n")
    asked = "--candidates", f"old={FIRST_GENERATION}", "--clips", str(CLIPS), "--frames", "3"
    done = in_process("trade_off.py", str(tmp_path), *asked, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    rows = read_rows(tmp_path)
    assert float(rows[CARRIED]["clip, 3 frames"]) > 50
    assert float(rows[CARRIED][ONE]) == 30
    assert float(rows["old fp32"]["clip, 3 frames: bus"]) == 91.95  # from the file: what training found
    assert {path.name for path in tmp_path.iterdir()} == {f"trade_off.{kind}" for kind in ("csv", "md", "png")}
    page = (tmp_path / "trade_off.md").read_text()
    assert "| old fp32 | 79.5 | - | - | - |" in page
    assert "| 30.0 | 31.0 | fast |" in page  # where it was measured, not where the page was written


def test_a_network_that_is_not_there_is_named(tmp_path):
    done = in_process("trade_off.py", str(tmp_path), "--networks", "new=no.safetensors", cwd=tmp_path)
    assert done.returncode == 2
    assert "new: there is no such file" in done.stderr


def test_a_table_of_nothing_is_refused(tmp_path):
    done = in_process("trade_off.py", "report", cwd=tmp_path)
    assert done.returncode == 2 and "there is nothing to show" in done.stderr
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_scores_and_times_stand_side_by_side(tmp_path, monkeypatch):
    monkeypatch.setattr(trade_off, "SIZE", 64)
    rows, subjects = {}, {"tiny fp32": (embedded_model(), "fp32")}
    column = score_clips(rows, CLIPS, 3, subjects)
    time_frames(rows, subjects, 1)
    write_trade_off(tmp_path, rows)
    again = read_rows(tmp_path)
    assert set(again) == {COPIED, CARRIED, PUBLISHED, "tiny fp32"}
    assert float(again["tiny fp32"][column]) > 50
    assert f", {torch.get_num_threads()} threads, torch {torch.__version__}" in again[PUBLISHED][TIMED_ON]
    assert all(float(again[name][at]) > 0 for name in (CARRIED, PUBLISHED, "tiny fp32") for at in (ONE, TWO))
    assert (tmp_path / "trade_off.png").is_file()
