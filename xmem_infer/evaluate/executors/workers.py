"""What executors with workers share: what a worker is told, retries on disk, and what is tidied up after them."""

import dataclasses
import logging
from collections.abc import Callable, Sequence
from contextlib import closing, suppress
from pathlib import Path

from tqdm import tqdm

from ...config import Device
from ...datasets.video_input import VideoInput
from ...errors import XMemInferError
from ..video_run import VideoRun
from .attempts import Attempts, Quarantined
from .protocol import Outcomes
from .worker import Setup

log = logging.getLogger(__name__)


class Progress:
    """The bar of a batch on a terminal, with counts of what happens in the workers."""

    def __init__(self, videos: int):
        self.running = self.frames = self.failed = self.retried = 0
        self._bar = tqdm(total=videos, desc="videos", unit="video", disable=None)  # None: silent off a terminal
        self.close = self._bar.close

    def finished(self, failed: bool) -> None:
        """Count a video that is done with."""
        self.failed += failed
        self._bar.update()

    def show(self) -> None:
        """Bring the line up to date, at the bar's own pace."""
        counts = {"running": self.running, "frames": self.frames, "failed": self.failed, "retried": self.retried}
        self._bar.set_postfix({name: count for name, count in counts.items() if count}, refresh=False)
        self._bar.update(0)


Start = Callable[[int, Sequence[VideoInput], Progress], Outcomes]


def in_workers(video_run: VideoRun, videos: Sequence[VideoInput], start: Start) -> Outcomes:
    """Every video with its outcome, as `start(workers, videos, progress)` gives them."""
    attempts = Attempts(video_run.output_dir)
    attempts.clear()
    unfinished = {video.name: video for video in videos}
    if not videos:
        return
    try:
        with closing(Progress(len(videos))) as progress:
            workers = min(video_run.config.workers, len(videos))
            for video, outcome in start(workers, longest_first(videos), progress):
                if not isinstance(outcome, Quarantined):
                    del unfinished[video.name]
                progress.finished(failed=isinstance(outcome, XMemInferError))
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
    return Setup(config, video_run.output_dir, weights, video_run.weights_sha256, Path.cwd())


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


def gpu_of(worker: int, count: int, visible: str | None) -> str | None:
    """CUDA_VISIBLE_DEVICES for worker 0, 1, ...: one GPU each, in turn; None where there are not several.

    count: GPUs that torch sees. visible: the variable's value now, which names those GPUs.
    """
    if count < 2:
        return None
    names = visible.split(",")[:count] if visible else [str(number) for number in range(count)]
    return names[worker % count].strip()
