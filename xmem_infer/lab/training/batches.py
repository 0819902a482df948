"""The stream of batches: a function of seed and sample index alone, so that a resumed run goes on with it."""

import signal
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset

from .config import Stage
from .pack import Pack
from .scenes import make_sample


class Batch(NamedTuple):
    """start: index of its first sample; images (B, T, S, S, 3) uint8; labels (B, T, S, S) uint8, 0..objects."""

    start: int
    images: Tensor
    labels: Tensor
    objects: int


def stage_at(stages: list[Stage], seen: int) -> Stage:
    """The stage a run is in after `seen` samples; the last one has no end."""
    return next((stage for stage in stages if seen < stage.until), stages[-1])


def make_batch(pack: Pack, stages: list[Stage], seed: int, start: int) -> Batch:
    """The batch of samples start, start + 1, ..."""
    stage = stage_at(stages, start)
    objects = 2 if np.random.default_rng((seed, start, 1)).random() < stage.two_objects else 1
    samples = [
        make_sample(pack, np.random.default_rng((seed, start + i)), stage.size, stage.frames, stage.real, objects)
        for i in range(stage.batch)
    ]
    images, labels = (torch.from_numpy(np.stack(arrays)) for arrays in zip(*samples, strict=True))
    return Batch(start, images, labels, objects)


class _BatchStream(IterableDataset):
    """Batches from sample `start` on, made in the worker process that iterates."""

    def __init__(self, folders: list[Path], stages: list[Stage], seed: int, start: int):
        self.folders, self.stages, self.seed, self.start = folders, stages, seed, start

    def __iter__(self) -> Iterator[Batch]:
        import cv2

        cv2.setNumThreads(1)
        pack = Pack(*self.folders)
        worker = torch.utils.data.get_worker_info()
        turn, turns = (worker.id, worker.num_workers) if worker else (0, 1)
        if worker:
            # Ctrl-C goes to every process of a terminal: the one that trains still wants its batch, then ends this one.
            for asked in (signal.SIGINT, signal.SIGTERM):
                signal.signal(asked, signal.SIG_IGN)
        start = self.start
        for number in count():
            # The loader asks its workers in turn: each makes every n-th batch, and the order is kept.
            if number % turns == turn:
                yield make_batch(pack, self.stages, self.seed, start)
            start += stage_at(self.stages, start).batch


def batches(folders: list[Path], stages: list[Stage], seed: int, start: int, workers: int) -> Iterator[Batch]:
    """The stream read ahead by `workers` processes (0: made on demand in this one)."""
    # spawn: a forked worker can wait for ever on the threads OpenCV had in the process it was forked from.
    ahead: dict[str, Any] = {"prefetch_factor": 4, "multiprocessing_context": "spawn"} if workers else {}
    stream = _BatchStream(folders, stages, seed, start)
    return iter(DataLoader(stream, batch_size=None, num_workers=workers, **ahead))
