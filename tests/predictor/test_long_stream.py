import json
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="needs the operating system's account of peak memory")
@pytest.mark.fault("ten thousand frames", "memory stays flat")
def test_memory_is_flat_over_ten_thousand_frames(tiny_weights):
    """Long-term memory fills at about frame 1,000 and evicts from then on, ten times over."""
    command = [sys.executable, Path(__file__).with_name("long_stream.py"), tiny_weights]
    run = subprocess.run(command, capture_output=True, text=True, timeout=800, check=False)
    assert run.returncode == 0, run.stderr
    peaks = json.loads(run.stdout)
    assert set(peaks) == {"1000", "10000"}
    assert peaks["10000"] <= 1.05 * peaks["1000"]
