"""Runs in real child processes become rows: one that answers, one killed, one over the ceiling, one that fails."""

import os
import signal
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
from ablation_clip import write_clip

from xmem_infer.config import DataConfig, Device, GradMode, Precision
from xmem_infer.lab.ablation import runs
from xmem_infer.lab.ablation.clip import open_clip
from xmem_infer.lab.ablation.config import AblateConfig, AblationRuntime, MatrixConfig
from xmem_infer.lab.ablation.plan import Combination, Scene, Setup
from xmem_infer.lab.ablation.runs import run_of
from xmem_infer.lab.ablation.segmenting import segment
from xmem_infer.lab.child import Outcome, run_in_child

GB = 10**9
COMBINATION = Combination(Scene(-1, 2, 8), Precision.fp32, GradMode.enable_grad)


@pytest.fixture
def setup(tmp_path, make_clip, tiny_weights):
    write_clip(tmp_path / "set", make_clip)
    clip = open_clip(str(tmp_path / "set"), None, DataConfig())
    config = AblateConfig(ablate=MatrixConfig(max_memory_gb=64), runtime=AblationRuntime(threads=1))
    return Setup(config, clip, tiny_weights, Device.cpu)


def test_events_become_a_row():
    frame = {"event": "frame", "of": "timed", "ms": 3.0}
    counted = {**frame, "of": "counted", "held_bytes": 7, "peak_bytes": 9}
    done = {"event": "pass_done", "masks_sha256": "a", "peak_resident_bytes": 6, "peak_tensor_bytes": None}
    events = [*[frame] * 2, {**frame, "ms": 4.0}, done, counted]
    run = run_of(COMBINATION, 1, Outcome("oom", events, "killed"))
    assert (run.status, run.repeat, run.frames_done, run.times_ms) == ("oom", 1, 3, [4.0])
    assert (run.held_bytes, run.frame_peak_bytes, run.peak_tensor_bytes) == ([7], [9], None)
    assert (run.p50_ms, run.masks, run.peak_resident_bytes) == (4.0, None, 6)
    row = run.csv_row()
    assert (row["grad_mode"], row["objects"], row["p95_ms"], row["peak_bytes_by_frame"]) == ("enable_grad", 2, 4.0, "9")


def test_resident_memory_is_that_of_the_timed_pass():
    done = {"event": "pass_done", "peak_resident_bytes": 6, "peak_tensor_bytes": None}
    outcome = Outcome("ok", [done, {**done, "peak_resident_bytes": 8, "peak_tensor_bytes": 9}])
    run = run_of(COMBINATION, 0, outcome)
    assert (run.peak_resident_bytes, run.peak_tensor_bytes) == (6, 9)


def test_rounds_are_interleaved_and_turn_round(setup, monkeypatch):
    combinations = [replace(COMBINATION, mode=mode) for mode in GradMode]
    monkeypatch.setattr(runs, "run_in_child", lambda work, threads: Outcome("ok"))
    found = runs.sweep(setup, combinations, 3)
    assert [run.repeat for run in found] == [0] * 5 + [1] * 5 + [2] * 5
    assert [run.mode for run in found] == [*GradMode, *reversed(GradMode), *GradMode]


@pytest.mark.slow
def test_a_run_becomes_a_row(setup):
    outcome = run_in_child(partial(segment, setup, COMBINATION), 1)
    run = run_of(COMBINATION, 0, outcome)
    assert (run.status, run.reason, run.frames_done) == ("ok", "", 8)
    assert len(run.times_ms) == 6
    assert len(run.held_bytes) == 8
    assert run.peak_tensor_bytes == max(run.frame_peak_bytes)
    assert run.network_bytes < run.peak_tensor_bytes < run.peak_resident_bytes
    assert run.masks.shape == (8, 48, 64)
    assert run.p50_ms <= run.p95_ms


def segment_until_killed(setup, combination, send):
    """Segment in the child, which is killed after it has sent its third frame."""
    sent = []

    def send_or_die(event, **fields):
        send(event, **fields)
        sent.append(event)
        if sent.count("frame") == 3:
            os.kill(os.getpid(), signal.SIGKILL)

    segment(setup, combination, send_or_die)


@pytest.mark.slow
@pytest.mark.fault(
    "measured process killed for lack of memory", "the report has an `oom` row with the last frame reached"
)
def test_a_killed_child_is_an_oom_row_with_the_frame_it_reached(setup, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")]))
    run = run_of(COMBINATION, 0, run_in_child(partial(segment_until_killed, setup, COMBINATION), 1))
    assert (run.status, run.frames_done, run.peak_tensor_bytes) == ("oom", 3, None)
    assert "killed by the system" in run.reason


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="resident memory is known exactly from /proc only")
def test_a_child_over_the_ceiling_is_an_oom_row(setup):
    # libraries alone pass such a ceiling: the frame is still named
    setup.config.ablate.max_memory_gb = 0.1
    run = run_of(COMBINATION, 0, run_in_child(partial(segment, setup, COMBINATION), 1))
    assert (run.status, run.frames_done) == ("oom", 0)
    assert "0.1 GB" in run.reason


@pytest.mark.slow
def test_a_child_that_fails_says_why(setup, tmp_path):
    (tmp_path / "broken.pth").write_bytes(b"<html>")
    setup = replace(setup, weights=tmp_path / "broken.pth")
    outcome = run_in_child(partial(segment, setup, COMBINATION), 1)
    assert outcome.status == "failed"
    assert "web page" in outcome.reason
