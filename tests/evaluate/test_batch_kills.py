"""Batches stopped repeatedly at random moments give the results of one uninterrupted run."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from batch_trees import ROOT, write_set

HELPER = Path(__file__).with_name("kill_batch.py")


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="needs fork and /proc")
@pytest.mark.parametrize(
    ("weights", "workers", "kills"),
    [
        ("tiny_weights", 1, 12),
        ("tiny_cutie_weights", 1, 3),
        pytest.param("tiny_weights", 2, 6, marks=pytest.mark.soak),
    ],
)
@pytest.mark.fault(
    "batch killed with SIGKILL at random moments, {workers} worker(s)",
    "after a rerun, output is byte-identical to an uninterrupted run",
)
def test_a_killed_batch_ends_with_the_files_of_an_uninterrupted_run(
    tmp_path, make_clip, request, weights, workers, kills
):
    weights = request.getfixturevalue(weights)
    videos = write_set(tmp_path / "set", make_clip, {"a": 6, "b": 14, "c": 10})
    path = os.pathsep.join([str(ROOT), str(ROOT / "tests"), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        [sys.executable, HELPER, videos, weights, tmp_path, str(workers), str(kills)],
        capture_output=True, text=True, timeout=600, env={**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    *wrong, last = done.stdout.splitlines()
    assert wrong == []
    assert int(last.removeprefix("kills=")) >= kills
