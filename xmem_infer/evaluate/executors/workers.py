"""What executors with workers share: the loop that hands out videos, and what is tidied up after it."""

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

STOP_S = 1.5  # for a worker to unwind; then it is killed. Less than interrupts.GRACE_S, which runs meanwhile
POLL_S = 0.25


@dataclasses.dataclass(eq=False)
class WorkerHandle:
    """A worker as the main process sees it. ready: it has loaded its network; video: what it is at."""

    ready: bool = False
    video: VideoInput | None = None


Handle = TypeVar("Handle", bound=WorkerHandle)


class Pool(ABC, Generic[Handle]):
    """Runs a batch on workers. Faults of the machine are raised, a video's own are outcomes."""

    def __init__(self, setup: Setup, workers: int):
        self.setup = setup
        self.workers = workers
        self.handles: list[Handle] = []
        self.waiting: deque[VideoInput] = deque()
        self.counts: Counter[str] = Counter(running=0, frames=0, failed=0, retried=0)  # shown beside the bar

    @abstractmethod
    def start_workers(self, wanted: int) -> None:
        """Have `wanted` workers in `handles`, where they can be had."""

    @abstractmethod
    def give(self, handle: Handle, video: VideoInput) -> None:
        """Hand a video to a worker that is ready."""

    @abstractmethod
    def listen(self) -> Iterator[tuple[VideoInput, Outcome]]:
        """Wait up to POLL_S for workers; mark those that got ready; yield the videos that were finished."""

    @abstractmethod
    def stop_workers(self) -> None:
        """End all workers; those in the midst of a video may unwind for STOP_S."""

    def busy(self) -> int:
        """How many workers are at a video."""
        return sum(handle.video is not None for handle in self.handles)

    def outcomes(self, videos: Sequence[VideoInput]) -> Outcomes:
        """Every video with its outcome, in order of completion; begun in the order given."""
        self.waiting.extend(videos)
        bar = tqdm(total=len(videos), desc="videos", unit="video", disable=None)  # None: silent off a terminal
        try:
            while self.waiting or self.busy():
                check()
                self.start_workers(min(self.workers, len(self.waiting) + self.busy()))
                for handle in self.handles:
                    if handle.ready and handle.video is None and self.waiting:
                        handle.video = self.waiting.popleft()
                        self.give(handle, handle.video)
                self.counts["running"] = self.busy()
                bar.set_postfix({name: count for name, count in self.counts.items() if count}, refresh=False)
                bar.update(0)
                for video, outcome in self.listen():
                    self.counts["failed"] += isinstance(outcome, XMemInferError)
                    bar.update()
                    yield video, outcome
        finally:
            self.stop_workers()
            bar.close()


Start = Callable[[int, Sequence[VideoInput]], Outcomes]


def in_workers(video_run: VideoRun, videos: Sequence[VideoInput], start: Start) -> Outcomes:
    """Every video with its outcome, as `start(workers, videos)` gives them; tidies up after killed workers."""
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
            with suppress(XMemInferError):  # another error may be on its way out
                if attempts.made(video.name):
                    video_run.clear(video)
        with suppress(XMemInferError):
            attempts.clear()


def worker_setup(video_run: VideoRun, weights: Path, cores: Sequence[int], workers: int, where: str = "") -> Setup:
    """What workers are told: the settings as this process resolved them, so that all resolve them alike."""
    prepared = video_run.segmenter.prepared
    settled = dataclasses.replace(
        video_run.config.runtime,
        device=Device(prepared.device.type),
        precision=prepared.precision,
        variant=prepared.backend,
        threads=video_run.config.runtime.threads or threads_each(cores, workers),
    )
    log.info(f"{workers} worker{'s' * (workers > 1)} with {settled.threads} CPU threads each{where}")
    config = dataclasses.replace(video_run.config, runtime=settled)
    return Setup(config, video_run.output_dir, weights, video_run.segmenter.weights_sha256, Path.cwd())


def longest_first(videos: Sequence[VideoInput]) -> list[VideoInput]:
    """Videos by falling number of frames, so that no long one is left to one worker at the end.

    Unknown lengths first (the length could be any); equal ones stay in order.
    """
    return sorted(videos, key=lambda video: -(video.frames.count or float("inf")))


def threads_each(cores: Sequence[int], workers: int) -> int:
    """CPU threads per worker, as many as let all workers fit; at least 1. cores: of each machine."""
    for threads in range(max(cores, default=1), 1, -1):
        if sum(count // threads for count in cores) >= workers:
            return threads
    return 1
