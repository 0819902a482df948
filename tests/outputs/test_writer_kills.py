"""SIGKILL at any moment: no partial file has a final name, old results are kept, the next run repairs all."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
HELPER = Path(__file__).with_name("kill_writer.py")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.slow
@pytest.mark.parametrize(("mode", "at_least"), [(("random", "12"), 3), (("steps",), 10)])
@pytest.mark.fault("writer killed with SIGKILL ({mode})", "only complete results have their final names")
def test_killed_writers_leave_only_complete_results(tmp_path, mode, at_least):
    """random: killed at random times. steps: killed before each file change in turn."""
    path = os.pathsep.join([str(ROOT), str(ROOT / "tests"), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        [sys.executable, str(HELPER), str(tmp_path), *mode],
        capture_output=True, text=True, timeout=300, env={**os.environ, "PYTHONPATH": path},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    *wrong, last = done.stdout.splitlines()
    assert wrong == []
    assert int(last.removeprefix("kills=")) >= at_least
