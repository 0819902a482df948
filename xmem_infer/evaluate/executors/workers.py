"""The scheduling loop and the cleanup that all executors with workers share."""

import dataclasses
import logging
from abc import ABC, abstractmethod
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Generic, TypeVar

from tqdm import tqdm

from ...config import Device
from ...datasets.video_input import VideoInput
from ...errors import XMemInferError
from ...interrupts import check
from ..video_run import VideoRun
from .attempts import Attempts, Quarantined
from .protocol import Outcome, Outcomes
from .worker import Setup

log = logging.getLogger(__name__)

STOP_S = 1.5  # time for a worker to clean up before it is killed; less than interrupts.GRACE_S, which runs meanwhile
POLL_S = 0.25


class WorkerHandle:
    """A worker as seen by the main process.

    Attributes:
        ready: Whether it has loaded its network.
        video: The video that it is segmenting.
    """

    ready: bool = False
    video: VideoInput | None = None


Handle = TypeVar("Handle", bound=WorkerHandle)


class Pool(ABC, Generic[Handle]):
    """Runs a batch on workers. Errors of the machine are raised, those of a video are outcomes."""

    def __init__(self, setup: Setup, workers: int):
        self.setup = setup
        self.workers = workers
        self.handles: list[Handle] = []
        self.waiting: deque[VideoInput] = deque()
        self.counts: Counter[str] = Counter(running=0, frames=0, failed=0, retried=0)  # shown in the progress bar

    @abstractmethod
    def start_workers(self, wanted: int) -> None:
        """Start workers until there are `wanted` in `handles`, as far as resources allow."""

    @abstractmethod
    def assign(self, handle: Handle, video: VideoInput) -> None:
        """Send a video to a worker that is ready."""

    @abstractmethod
    def receive(self) -> Iterator[tuple[VideoInput, Outcome]]:
        """Wait up to POLL_S for messages, mark workers that became ready, and yield finished videos."""

    @abstractmethod
    def stop_workers(self) -> None:
        """End all workers; busy ones have STOP_S to remove their partial outputs."""

    def busy(self) -> int:
        """Return the number of workers that are segmenting a video."""
        return sum(handle.video is not None for handle in self.handles)

    def outcomes(self, videos: Sequence[VideoInput]) -> Outcomes:
        """Yield every video with its outcome, in order of completion. Videos are started in the given order."""
        self.waiting.extend(videos)
        # disable=None: hidden if the output is no terminal
        bar = tqdm(total=len(videos), desc="videos", unit="video", disable=None)
        try:
            while self.waiting or self.busy():
                check()
                self.start_workers(min(self.workers, len(self.waiting) + self.busy()))
                for handle in self.handles:
                    if handle.ready and handle.video is None and self.waiting:
                        handle.video = self.waiting.popleft()
                        self.assign(handle, handle.video)
                self.counts["running"] = self.busy()
                bar.set_postfix({name: count for name, count in self.counts.items() if count}, refresh=False)
                bar.update(0)
                for video, outcome in self.receive():
                    self.counts["failed"] += isinstance(outcome, XMemInferError)
                    bar.update()
                    yield video, outcome
        finally:
            self.stop_workers()
            bar.close()


Start = Callable[[int, Sequence[VideoInput]], Outcomes]


def run_in_workers(video_run: VideoRun, videos: Sequence[VideoInput], start: Start) -> Outcomes:
    """Yield every video with its outcome from `start(workers, videos)`, and clean up after killed workers."""
    attempts = Attempts(video_run.output_dir)
    attempts.clear()
    unfinished = {video.name: video for video in videos}
    if not videos:
        return
    try:
        for video, outcome in start(min(video_run.config.workers, len(videos)), longest_first(videos)):
            if not isinstance(outcome, Quarantined):
                del unfinished[video.name]
            yield video, outcome
    finally:
        for video in unfinished.values():
            with suppress(XMemInferError):  # do not hide an error that is already being raised
                if attempts.previous(video.name):
                    video_run.clear(video)
        with suppress(XMemInferError):
            attempts.clear()


def worker_setup(video_run: VideoRun, weights: Path, cores: Sequence[int], workers: int, where: str = "") -> Setup:
    """Return the setup of all workers, with settings as this process resolved them, so that they agree."""
    prepared = video_run.segmenter.prepared
    resolved = dataclasses.replace(
        video_run.config.runtime,
        device=Device(prepared.device.type),
        precision=prepared.precision,
        variant=prepared.backend,
        threads=video_run.config.runtime.threads or threads_per_worker(cores, workers),
    )
    log.info(f"{workers} worker{'s' * (workers > 1)} with {resolved.threads} CPU threads each{where}")
    config = dataclasses.replace(video_run.config, runtime=resolved)
    return Setup(config, video_run.output_dir, weights, video_run.segmenter.weights_sha256, Path.cwd())


def longest_first(videos: Sequence[VideoInput]) -> list[VideoInput]:
    """Sort videos by descending number of frames, so that no long video runs alone at the end.

    Videos of unknown length come first. The sort is stable.
    """
    return sorted(videos, key=lambda video: -(video.frames.count or float("inf")))


def threads_per_worker(cores: Sequence[int], workers: int) -> int:
    """Return the most CPU threads per worker, at least 1, with which all fit on machines with so many `cores`."""
    for threads in range(max(cores, default=1), 1, -1):
        if sum(count // threads for count in cores) >= workers:
            return threads
    return 1
