"""Runs in real child processes become rows: one that answers, one killed, one over the ceiling, one that fails."""

import os
import signal
import sys
from dataclasses import replace
from functools import partial

import pytest
from ablation_clip import write_clip

from xmem_infer.config import DataConfig, Device, GradMode, Precision
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
    done = {"event": "pass_done", "name": "timed", "frames_done": 2, "masks_sha256": "a", "peak_resident_bytes": 6}
    events = [frame, {**frame, "ms": 4.0}, done, counted]
    run = run_of(COMBINATION, 1, Outcome("oom", events, "killed"), warmup_frames=1)
    assert (run.status, run.repeat, run.frames_done, run.times_ms) == ("oom", 1, 2, [4.0])
    assert (run.held_bytes, run.frame_peak_bytes, run.peak_tensor_bytes) == ([7], [9], None)
    assert (run.p50_ms, run.masks) == (4.0, None)
    row = run.csv_row()
    assert (row["grad_mode"], row["objects"], row["p95_ms"], row["peak_bytes_by_frame"]) == ("enable_grad", 2, 4.0, "9")


@pytest.mark.slow
def test_a_run_becomes_a_row(setup):
    outcome = run_in_child(partial(segment, setup, COMBINATION), 1)
    run = run_of(COMBINATION, 0, outcome, warmup_frames=2)
    assert (run.status, run.reason, run.frames_done) == ("ok", "", 8)
    assert len(run.times_ms) == 6
    assert len(run.held_bytes) == 8
    assert run.peak_tensor_bytes == max(run.frame_peak_bytes)
    assert run.network_bytes < run.peak_tensor_bytes < run.peak_resident_bytes
    assert run.masks.shape == (8, 48, 64)
    assert run.p50_ms <= run.p95_ms


@pytest.mark.slow
@pytest.mark.fault(
    "measured process killed for lack of memory", "the report has an `oom` row with the last frame reached"
)
def test_a_killed_child_is_an_oom_row_with_the_frame_it_reached(setup):
    pids = []

    def kill(event):
        pids.append(event.get("pid"))
        if event["event"] == "frame" and event["index"] == 2:
            os.kill(pids[0], signal.SIGKILL)

    run = run_of(COMBINATION, 0, run_in_child(partial(segment, setup, COMBINATION), 1, kill), warmup_frames=0)
    assert run.status == "oom"
    assert "killed by the system" in run.reason
    assert 3 <= run.frames_done <= 8
    assert run.peak_tensor_bytes is None


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="resident memory is known exactly from /proc only")
def test_a_child_over_the_ceiling_is_an_oom_row(setup):
    # libraries alone pass such a ceiling: the frame is still named
    setup.config.ablate.max_memory_gb = 0.1
    run = run_of(COMBINATION, 0, run_in_child(partial(segment, setup, COMBINATION), 1), warmup_frames=0)
    assert (run.status, run.frames_done) == ("oom", 0)
    assert "0.1 GB" in run.reason


@pytest.mark.slow
def test_a_child_that_fails_says_why(setup, tmp_path):
    (tmp_path / "broken.pth").write_bytes(b"<html>")
    setup = replace(setup, weights=tmp_path / "broken.pth")
    outcome = run_in_child(partial(segment, setup, COMBINATION), 1)
    assert outcome.status == "failed"
    assert "web page" in outcome.reason
