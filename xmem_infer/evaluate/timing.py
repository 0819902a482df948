"""Times of a video: per stage, as published, and as its user feels them."""

from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from time import perf_counter
from typing import Any

import numpy as np


class VideoClock:
    """Collects the stage times of each frame of one video."""

    def __init__(self) -> None:
        self._started = perf_counter()
        self._stages: dict[str, list[float]] = defaultdict(list)

    def frame(self, stage_ms: dict[str, float]) -> None:
        """Count a frame."""
        for stage, spent in stage_ms.items():
            self._stages[stage].append(spent)

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Time the wait for the writer, as the stage "write"."""
        started = perf_counter()
        yield
        self._stages["write"].append((perf_counter() - started) * 1000)

    def report(self) -> dict[str, Any]:
        """Seconds and frames per second by both definitions, and each stage's share.

        published_fps: from the frame on the device to its upsampled probabilities, first frame included, no
        warm-up. end_to_end_fps: wall clock from opening the video to its finished files.
        """
        seconds = perf_counter() - self._started
        frames = len(self._stages.get("segment", []))
        computing = sum(self._stages.get("segment", [])) / 1000
        return {
            "frames": frames,
            "seconds": seconds,
            "end_to_end_fps": frames / seconds,
            "published_fps": frames / computing if computing else None,
            "stages": {stage: _summary(times) for stage, times in self._stages.items()},
        }


def _summary(times: list[float]) -> dict[str, float]:
    p50, p95 = np.percentile(times, (50, 95))
    return {"p50_ms": float(p50), "p95_ms": float(p95), "total_s": sum(times) / 1000}
