import json
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="needs the operating system's account of peak memory")
@pytest.mark.fault("video of ten thousand frames", "peak memory stays constant")
@pytest.mark.parametrize("family", ["tiny_weights", pytest.param("tiny_cutie_weights", marks=pytest.mark.soak)])
def test_memory_is_constant_over_ten_thousand_frames(family, request):
    """Long-term memory is full at about frame 1,000 and evicts tokens from then on."""
    command = [sys.executable, Path(__file__).with_name("long_stream.py"), request.getfixturevalue(family)]
    run = subprocess.run(command, capture_output=True, text=True, timeout=800, check=False)
    assert run.returncode == 0, run.stderr
    peaks = json.loads(run.stdout)
    assert set(peaks) == {"1000", "10000"}
    assert peaks["10000"] <= 1.05 * peaks["1000"]


GROWING = """
import json, sys
import numpy as np
from xmem_infer import DataConfig, MemoryConfig, RuntimeConfig, Segmenter
from xmem_infer.lab.resident import resident_bytes

pictures = np.random.default_rng(0).integers(0, 255, (320, 64, 64, 3), np.uint8)
mask = np.zeros((64, 64), np.uint8)
mask[10:40, 10:30] = 1
segmenter = Segmenter.from_weights(
    sys.argv[1], MemoryConfig(memory_every=1), RuntimeConfig(precision="fp32", threads=1), DataConfig(size=-1)
)
sizes = {result.frame.index: resident_bytes() for result in segmenter.segment(pictures, mask)}
json.dump([sizes[20], sizes[319]], sys.stdout)
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="needs the operating system's account of resident memory")
def test_growth_of_memory_is_that_of_its_tokens(tiny_weights):
    """300 frames of 16 tokens need about a megabyte in total, not half a megabyte per frame."""
    command = [sys.executable, "-c", GROWING, tiny_weights]
    run = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert run.returncode == 0, run.stderr
    early, late = json.loads(run.stdout)
    assert late - early < 60_000_000
