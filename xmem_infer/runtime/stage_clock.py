"""Measure the milliseconds spent in each stage of a frame; asynchronous devices are synchronised first."""

from collections.abc import Iterator
from contextlib import contextmanager
from time import perf_counter

import torch


class StageClock:
    """Stopwatch for stages: `with clock("segment"): ...` adds the elapsed time to stage_ms["segment"]."""

    def __init__(self, device: torch.device, stage_ms: dict[str, float]):
        self.device = device
        self.stage_ms = stage_ms

    @contextmanager
    def __call__(self, stage: str) -> Iterator[None]:
        started = perf_counter()
        yield
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        elif self.device.type == "mps":
            torch.mps.synchronize()
        self.stage_ms[stage] = self.stage_ms.get(stage, 0.0) + (perf_counter() - started) * 1000
