import mmap
import signal
import sys

import numpy as np
import pytest

from xmem_infer.lab.resident import CeilingReached, ceiling, peak_resident_bytes, resident_bytes, restart_peak

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="exact only where /proc tells")
MB = 1_000_000


def written(size):
    """Memory of its own, which no allocator takes from what it kept or keeps."""
    block = mmap.mmap(-1, size)
    for _ in range(size // MB):
        block.write(bytes(MB))
    return block


def test_resident_memory_follows_an_allocation_and_its_release():
    before = resident_bytes()
    block = written(100 * MB)
    assert 90 * MB < resident_bytes() - before < 130 * MB
    block.close()
    assert resident_bytes() - before < 30 * MB


def test_the_peak_remembers_until_it_is_restarted():
    block = written(100 * MB)
    high = peak_resident_bytes()
    block.close()
    assert abs(peak_resident_bytes() - high) < 2 * MB  # the kernel counts in batches
    restart_peak()
    assert peak_resident_bytes() < high - 60 * MB


def test_the_ceiling_stops_work_and_leaves_no_trace():
    handler, kept = signal.getsignal(signal.SIGINT), []

    def hoard():
        for _ in range(10_000):
            kept.append(np.ones(MB, np.uint8))

    with pytest.raises(CeilingReached), ceiling(resident_bytes() + 60 * MB):
        hoard()
    assert 30 < len(kept) < 2000
    assert signal.getsignal(signal.SIGINT) is handler


def test_below_the_ceiling_nothing_happens():
    with ceiling(resident_bytes() + 500 * MB):
        np.ones(10 * MB, np.uint8)
