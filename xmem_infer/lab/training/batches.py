"""The stream of training batches. Each depends only on seed and sample index, so a resumed run sees the same ones."""

import signal
from collections.abc import Generator, Iterator
from itertools import count
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset

from .config import Stage
from .pack import Pack
from .scenes import make_sample


class Batch(NamedTuple):
    """A batch of clips with one number of objects."""

    start: int  # index of its first sample
    images: Tensor  # (B, T, S, S, 3) uint8
    labels: Tensor  # (B, T, S, S) uint8, 0..objects
    objects: int


def stage_at(stages: list[Stage], seen: int) -> Stage:
    """Return the stage of a run after `seen` samples; the last stage has no end."""
    return next((stage for stage in stages if seen < stage.until), stages[-1])


def make_batch(pack: Pack, stages: list[Stage], seed: int, start: int) -> Batch:
    """Generate the batch of the samples start, start + 1, ..."""
    stage = stage_at(stages, start)
    objects = 2 if np.random.default_rng((seed, start, 1)).random() < stage.two_objects else 1
    samples = [
        make_sample(pack, np.random.default_rng((seed, start + i)), stage.size, stage.frames, stage.real, objects)
        for i in range(stage.batch)
    ]
    images, labels = (torch.from_numpy(np.stack(arrays)) for arrays in zip(*samples, strict=True))
    return Batch(start, images, labels, objects)


class _BatchStream(IterableDataset):
    """Batches from sample `start` on, generated in the worker process that iterates over them."""

    def __init__(self, folders: list[Path], stages: list[Stage], seed: int, start: int):
        self.folders, self.stages, self.seed, self.start = folders, stages, seed, start

    def __iter__(self) -> Iterator[Batch]:
        cv2.setNumThreads(1)
        pack = Pack(*self.folders)
        worker = torch.utils.data.get_worker_info()
        rank, workers = (worker.id, worker.num_workers) if worker else (0, 1)
        if worker:
            # A terminal's Ctrl-C reaches all processes. The training process still needs this one until it has stopped.
            for number in (signal.SIGINT, signal.SIGTERM):
                signal.signal(number, signal.SIG_IGN)
        start = self.start
        for index in count():
            # The loader takes batches from its workers in turn, so each generates every n-th one.
            if index % workers == rank:
                yield make_batch(pack, self.stages, self.seed, start)
            start += stage_at(self.stages, start).batch


def batches(
    folders: list[Path], stages: list[Stage], seed: int, start: int, workers: int
) -> Generator[Batch, None, None]:
    """Yield batches that `workers` processes generate in advance (0: this process, on demand).

    Close it at the end: after an error, Python would wait for the processes, which ignore SIGTERM, and never end.
    """
    # spawn, because a forked worker can deadlock on the threads that OpenCV had in the parent process.
    options: dict[str, Any] = {"prefetch_factor": 4, "multiprocessing_context": "spawn"} if workers else {}
    stream = _BatchStream(folders, stages, seed, start)
    yield from DataLoader(stream, batch_size=None, num_workers=workers, **options)
