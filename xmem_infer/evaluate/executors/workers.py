"""The scheduling loop and the cleanup that all executors with workers share."""

import dataclasses
import logging
from abc import ABC, abstractmethod
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Generic, TypeVar

from tqdm import tqdm

from ...config import Device
from ...datasets.video_input import VideoInput
from ...errors import XMemInferError
from ...interrupts import check
from ..video_run import VideoRun
from .protocol import Outcome, Outcomes
from .worker import Attempts, Quarantined, Setup

log = logging.getLogger(__name__)

STOP_S = 1.5  # time for a worker to clean up before it is killed; less than interrupts.GRACE_S, which runs meanwhile
POLL_S = 0.25


class WorkerHandle:
    """A worker as seen by the main process."""

    ready: bool = False  # whether it has loaded its network
    video: VideoInput | None = None  # the video that it is segmenting


Handle = TypeVar("Handle", bound=WorkerHandle)


class Pool(ABC, Generic[Handle]):
    """Runs a batch on workers. Errors of the machine are raised, those of a video are outcomes."""

    def __init__(
        self, video_run: VideoRun, weights: Path, videos: Sequence[VideoInput], cores: Sequence[int], where: str = ""
    ):
        """Prepare a batch, with settings as this process resolved them, so that all workers agree.

        cores: number of CPU cores of each machine; where: the machines, for a message.
        """
        self.video_run = video_run
        self.workers = min(video_run.config.workers, len(videos))
        self.waiting = deque(longest_first(videos))
        self.handles: list[Handle] = []
        self.counts: Counter[str] = Counter(running=0, frames=0, failed=0, retried=0)  # shown in the progress bar
        prepared, segmenter = video_run.segmenter.prepared, video_run.segmenter
        resolved = dataclasses.replace(
            video_run.config.runtime,
            device=Device(prepared.device.type),
            precision=prepared.precision,
            variant=prepared.backend,
            threads=video_run.config.runtime.threads or threads_per_worker(cores, self.workers),
        )
        log.info(f"{self.workers} worker{'s' * (self.workers > 1)} with {resolved.threads} CPU threads each{where}")
        config = dataclasses.replace(video_run.config, runtime=resolved)
        self.setup = Setup(config, video_run.output_dir, weights, segmenter.weights_sha256, Path.cwd())

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

    def outcomes(self) -> Outcomes:
        """Yield every video with its outcome, in order of completion, and clean up after killed workers."""
        unfinished = {video.name: video for video in self.waiting}
        # disable=None: hidden if the output is no terminal
        bar = tqdm(total=len(unfinished), desc="videos", unit="video", disable=None)
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
                    if not isinstance(outcome, Quarantined):
                        del unfinished[video.name]
                    bar.update()
                    yield video, outcome
        finally:
            self.stop_workers()
            bar.close()
            attempts = Attempts(self.setup.output_dir)
            for video in unfinished.values():
                with suppress(XMemInferError):  # do not hide an error that is already being raised
                    if attempts.previous(video.name):
                        self.video_run.clear(video)
            with suppress(XMemInferError):
                attempts.clear()


def longest_first(videos: Sequence[VideoInput]) -> list[VideoInput]:
    """Sort videos by descending number of frames, unknown ones first, so that no long video runs alone at the end."""
    return sorted(videos, key=lambda video: -(video.frames.count or float("inf")))


def threads_per_worker(cores: Sequence[int], workers: int) -> int:
    """Return the most CPU threads per worker, at least 1, with which all fit on machines with so many `cores`."""
    for threads in range(max(cores, default=1), 1, -1):
        if sum(count // threads for count in cores) >= workers:
            return threads
    return 1
