"""Real child processes: one that answers, one that is stopped at the ceiling, one killed, one that fails."""

import os
import signal
import sys
from dataclasses import replace

import numpy as np
import pytest
from ablation_clip import write_clip

from xmem_infer.config import DataConfig, Device, GradMode, MemoryConfig, Precision
from xmem_infer.lab.ablation.clip import open_clip
from xmem_infer.lab.ablation.plan import Cell, Scene
from xmem_infer.lab.ablation.process import Nursery
from xmem_infer.lab.ablation.requests import LinearRequest, SegmentRequest
from xmem_infer.lab.ablation.sweep import row_of

GB = 10**9
CELL = Cell(Scene(-1, 2, 8), Precision.fp32, GradMode.enable_grad)


@pytest.fixture
def request_(tmp_path, make_clip, tiny_weights):
    write_clip(tmp_path / "set", make_clip)
    clip = open_clip(str(tmp_path / "set"), None, DataConfig())
    np.save(tmp_path / "first.npy", clip.first)
    return SegmentRequest(
        clip.path, tmp_path / "first.npy", tiny_weights, 8, GradMode.enable_grad, Precision.fp32, DataConfig(size=-1),
        MemoryConfig(), Device.cpu, 1, 64 * GB, masks_to=tmp_path / "masks.npz",
    )  # fmt: skip


@pytest.fixture(scope="module")
def nursery():
    with Nursery() as nursery:
        yield nursery


def test_a_run_becomes_a_row(request_, nursery):
    outcome = nursery.run(request_)
    row = row_of(CELL, 0, outcome, warmup_frames=2, masks=request_.masks_to)
    assert (row.status, row.reason, row.frames_done) == ("ok", "", 8)
    assert len(row.times_ms) == 6
    assert len(row.held_bytes) == len(row.resident_bytes) == 8
    assert row.peak_tensor_bytes == max(row.frame_peak_bytes)
    assert row.network_bytes < row.peak_tensor_bytes < row.peak_resident_bytes
    assert row.masks is not None
    assert row.flat()["p50_ms"] <= row.flat()["p95_ms"]


def test_a_child_killed_by_the_system_is_an_oom_row_with_the_frame_it_reached(request_, nursery):
    pids = []

    def kill(event):
        if event["event"] == "started":
            pids.append(event["pid"])
        if event["event"] == "frame" and event["index"] == 2:
            os.kill(pids[0], signal.SIGKILL)

    row = row_of(CELL, 0, nursery.run(request_, kill), warmup_frames=0)
    assert row.status == "oom"
    assert "killed by the system" in row.reason
    assert 3 <= row.frames_done <= 8
    assert row.peak_tensor_bytes is None
    assert nursery.run(request_).status == "ok"  # the next one is not harmed


def test_every_request_has_a_process_of_its_own(request_, nursery):
    runs = [nursery.run(replace(request_, frames=3, timed=False)) for _ in range(2)]
    assert len({run.last("started")["pid"] for run in runs} | {os.getpid()}) == 3
    assert runs[0].last("pass_done") == runs[1].last("pass_done") | {
        "peak_resident_bytes": runs[0].last("pass_done")["peak_resident_bytes"]
    }


@pytest.mark.skipif(sys.platform != "linux", reason="resident memory is known exactly from /proc only")
def test_a_child_over_the_ceiling_is_an_oom_row(request_, nursery):
    outcome = nursery.run(LinearRequest(2000, 100_000, 10, GradMode.no_grad, 1, ceiling_bytes=GB))
    assert outcome.status == "oom"
    assert outcome.last("linear") is None
    # libraries alone pass such a ceiling: the frame is still named
    row = row_of(CELL, 0, nursery.run(replace(request_, ceiling_bytes=10**8)), warmup_frames=0)
    assert (row.status, row.frames_done) == ("oom", 0)
    assert "0.1 GB" in row.reason


def test_a_child_that_fails_says_why(request_, nursery, tmp_path):
    (tmp_path / "broken.pth").write_bytes(b"<html>")
    outcome = nursery.run(replace(request_, weights=tmp_path / "broken.pth"))
    assert outcome.status == "failed"
    assert "web page" in outcome.reason
