"""executor=processes: worker processes on this machine, fed by this one, replaced when they die."""

import logging
import multiprocessing
import os
import signal
import time
from collections import defaultdict, deque
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager, suppress
from multiprocessing import forkserver, resource_tracker
from multiprocessing.connection import wait
from pathlib import Path
from typing import Any

import torch

from ...datasets.video_input import VideoInput
from ...errors import EnvironmentFault
from ...interrupts import check
from ...scoring.parallel import usable_cores
from ..video_run import VideoRun
from .attempts import MAX_ATTEMPTS, Attempts, quarantine
from .protocol import EXECUTORS, Outcome, Outcomes
from .worker import Setup, Worker, serve
from .workers import Progress, gpu_of, in_workers, worker_setup

log = logging.getLogger(__name__)

STOP_S = 1.5  # for a worker to unwind; then it is killed. Less than interrupts.GRACE_S, which runs meanwhile
POLL_S = 0.25
MAX_EARLY_DEATHS = 3  # in a row, of workers that had not begun a video


class WorkerHandle:
    """A worker process as the main process sees it. number: its place, which decides its GPU."""

    def __init__(self, setup: Setup, number: int):
        # A pipe each, not a common queue: one that is killed while it holds a queue's lock would stop all.
        context = start_method()
        gpu = gpu_of(number, torch.cuda.device_count(), os.environ.get("CUDA_VISIBLE_DEVICES"))
        self.number = number
        self.pipe, theirs = context.Pipe()
        self.process = context.Process(target=serve, args=(theirs, setup, gpu), name=f"worker {number}", daemon=True)
        self.process.start()
        theirs.close()
        self.ready = False
        self.video: VideoInput | None = None
        self.attempts_before = 0

    def give(self, video: VideoInput, attempts_before: int) -> None:
        """Hand over a video; a worker that died meanwhile is found out by its closed pipe."""
        self.video, self.attempts_before = video, attempts_before
        with suppress(OSError):
            self.pipe.send(video)

    def exit_reason(self) -> str:
        """How the process ended, once its pipe is closed."""
        self.process.join(STOP_S)
        code = self.process.exitcode
        if code is None:
            self.process.kill()
            return "it stopped answering"
        if code >= 0:
            return f"exit code {code}"
        reason = " (as the system does when memory runs out)" if -code == signal.SIGKILL else ""
        return f"killed by {signal.Signals(-code).name}{reason}"


def start_method() -> Any:
    """How workers begin. Never forked from here: this process has threads and maybe a GPU.

    A fork server is a fresh process that imports torch once for all workers and for those who replace them.
    """
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([Worker.__module__])
    with held_back(signal.SIGINT):  # Ctrl-C goes to all processes of a terminal; workers wait for a word from here
        resource_tracker.ensure_running()  # else it is started within the next line, and that lifts the block
        forkserver.ensure_running()
    return context


@EXECUTORS.register("processes")
def processes(video_run: VideoRun, weights: Path, videos: Sequence[VideoInput]) -> Outcomes:
    """See `protocol.Executor`."""

    def start(workers: int, videos: Sequence[VideoInput], progress: Progress) -> Outcomes:
        setup = worker_setup(video_run, weights, [usable_cores()], workers)
        return ProcessPool(setup, workers, progress).outcomes(videos)

    return in_workers(video_run, videos, start)


class ProcessPool:
    """Runs a batch on `workers` processes. Faults of the machine are raised, a video's own are outcomes."""

    def __init__(self, setup: Setup, workers: int, progress: Progress):
        self.setup = setup
        self.workers = workers
        self.progress = progress
        self.attempts = Attempts(setup.output_dir)
        self.handles: list[WorkerHandle] = []
        self.waiting: deque[VideoInput] = deque()
        self.deaths: dict[str, list[str]] = defaultdict(list)
        self.early_deaths = 0

    def outcomes(self, videos: Sequence[VideoInput]) -> Generator[tuple[VideoInput, Outcome], None, None]:
        """Every video with its outcome, in order of completion; begun in the order given."""
        self.waiting.extend(videos)
        try:
            while self.waiting or self._busy():
                check()
                self._spawn_workers()
                self._assign()
                self.progress.running = self._busy()
                self.progress.show()
                by_pipe = {handle.pipe: handle for handle in self.handles}
                for pipe in wait(list(by_pipe), POLL_S):
                    done = self._receive(by_pipe[pipe])
                    if done is not None:
                        yield done
        finally:
            self._stop_workers()

    def _busy(self) -> int:
        return sum(handle.video is not None for handle in self.handles)

    def _spawn_workers(self) -> None:
        """As many workers as there is work for."""
        wanted = min(self.workers, len(self.waiting) + self._busy())
        free = [number for number in range(self.workers) if all(number != handle.number for handle in self.handles)]
        for number in free[: max(0, wanted - len(self.handles))]:
            try:
                self.handles.append(WorkerHandle(self.setup, number))
            except (EOFError, ConnectionError):
                self._count_early_death("the process that forks workers was killed")  # the next one starts it anew

    def _assign(self) -> None:
        for handle in self.handles:
            if handle.ready and handle.video is None and self.waiting:
                video = self.waiting.popleft()
                handle.give(video, len(self.attempts.made(video.name)))

    def _receive(self, handle: WorkerHandle) -> tuple[VideoInput, Outcome] | None:
        """Take one message of a worker, or notice its death."""
        try:
            kind, content = handle.pipe.recv()
        except (EOFError, OSError):
            return self._on_exit(handle)
        if kind == "fault":
            raise content
        if kind == "bug":
            where = "" if handle.video is None else f" at {handle.video.name}"
            raise RuntimeError(f"a worker failed unexpectedly{where}:\n{content}")
        if kind == "frame":
            self.progress.frames += 1
            return None
        self.early_deaths = 0
        handle.ready = True
        video, handle.video = handle.video, None
        return None if video is None else (video, content)

    def _on_exit(self, handle: WorkerHandle) -> tuple[VideoInput, Outcome] | None:
        """A worker died: its video waits for another one, or has had its chances."""
        self.handles.remove(handle)
        handle.pipe.close()
        reason, video = handle.exit_reason(), handle.video
        made = [] if video is None else self.attempts.made(video.name)
        if video is None or len(made) == handle.attempts_before:
            self._count_early_death(reason)
        else:
            self.deaths[video.name].append(reason)
        if video is None:
            return None
        if len(made) >= MAX_ATTEMPTS:
            return video, quarantine(made, self.deaths[video.name])
        log.info(
            f"{video.name}: its worker died ({reason}); it is begun again, attempt {len(made) + 1} of {MAX_ATTEMPTS}"
        )
        self.progress.retried += 1
        self.waiting.appendleft(video)
        return None

    def _count_early_death(self, reason: str) -> None:
        self.early_deaths += 1
        if self.early_deaths >= MAX_EARLY_DEATHS:
            raise EnvironmentFault(
                f"{self.early_deaths} workers in a row died before they could begin a video (the last: {reason}). "
                f"Each loads a network of its own: run with fewer than workers={self.workers}"
            )

    def _stop_workers(self) -> None:
        """End all workers: those in the midst of a video unwind and remove what is unfinished, or are killed."""
        for handle in self.handles:
            if handle.ready and handle.video is None:
                handle.pipe.close()  # the end of its work
            else:
                handle.process.terminate()
        deadline = time.monotonic() + STOP_S
        for handle in self.handles:
            handle.process.join(max(0.0, deadline - time.monotonic()))
        for handle in self.handles:
            if handle.process.is_alive():
                handle.process.kill()
                handle.process.join()
            handle.pipe.close()
        self.handles.clear()


@contextmanager
def held_back(number: signal.Signals) -> Iterator[None]:
    """Keep a signal pending, and blocked for good in processes started meanwhile; delivered here afterwards."""
    signal.pthread_sigmask(signal.SIG_BLOCK, {number})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {number})
