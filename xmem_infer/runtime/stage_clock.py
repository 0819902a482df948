"""Measure the milliseconds spent in each stage of a frame."""

from collections.abc import Iterator, MutableMapping
from contextlib import contextmanager
from time import perf_counter

import torch


@contextmanager
def timed(stage: str, device: torch.device, stage_ms: MutableMapping[str, float]) -> Iterator[None]:
    """Add the time of a block to stage_ms[stage]; asynchronous devices are synchronised first."""
    started = perf_counter()
    yield
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()
    stage_ms[stage] = stage_ms.get(stage, 0.0) + (perf_counter() - started) * 1000
