"""Helper process of test_long_stream.py: segment 10,000 frames and print peak memory on the way."""

import json
import resource
import sys
from pathlib import Path

import numpy as np

from xmem_infer import DataConfig, MemoryConfig, RuntimeConfig, Segmenter
from xmem_infer.config import Precision

FRAMES = 10_000


def frames():
    rng = np.random.default_rng(0)
    scene = rng.integers(0, 255, (64, 256, 3), np.uint8)
    for t in range(FRAMES):
        yield np.ascontiguousarray(scene[:, t % 192 : t % 192 + 64])


def main(weights):
    mask = np.zeros((64, 64), np.uint8)
    mask[10:40, 10:30], mask[30:60, 35:60] = 1, 2
    segmenter = Segmenter.from_weights(
        Path(weights),
        MemoryConfig(memory_every=1, max_long_term_tokens=2200),
        RuntimeConfig(precision=Precision.fp32, threads=1),
        DataConfig(size=-1),
    )
    peaks = {}
    for result in segmenter.segment(frames(), mask):
        if result.frame.index + 1 in (1000, FRAMES):
            peaks[result.frame.index + 1] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    json.dump(peaks, sys.stdout)


if __name__ == "__main__":
    main(sys.argv[1])
