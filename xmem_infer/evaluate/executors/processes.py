"""executor=processes: worker processes on this machine, fed by this one, replaced when they die."""

import logging
import multiprocessing
import os
import signal
import sys
import threading
import time
import traceback
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import suppress
from multiprocessing import forkserver, resource_tracker
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

import torch

from ...datasets.video_input import VideoInput
from ...errors import EnvironmentFault, XMemInferError
from ...interrupts import Interrupted, check, noted_signals
from ...runtime.cores import usable_cores
from ...scoring.parallel import leave_with_parent
from ..video_run import VideoRun
from .attempts import MAX_ATTEMPTS, Attempts, quarantine
from .protocol import EXECUTORS, Outcome, Outcomes
from .worker import Setup, Worker
from .workers import POLL_S, STOP_S, Pool, WorkerHandle, in_workers, worker_setup

log = logging.getLogger(__name__)

MAX_EARLY_DEATHS = 3  # in a row, of workers that had not begun a video


@EXECUTORS.register("processes")
def processes(video_run: VideoRun, weights: Path, videos: Sequence[VideoInput]) -> Outcomes:
    """See `protocol.Executor`."""

    def start(workers: int, videos: Sequence[VideoInput]) -> Outcomes:
        setup = worker_setup(video_run, weights, [usable_cores()], workers)
        return ProcessPool(setup, workers).outcomes(videos)

    return in_workers(video_run, videos, start)


class ProcessHandle(WorkerHandle):
    """A worker process. number: its place, which decides its GPU."""

    def __init__(self, setup: Setup, number: int):
        super().__init__()
        # A pipe each, not a common queue: one that is killed while it holds a queue's lock would stop all.
        context = start_method()
        gpu = gpu_of(number, torch.cuda.device_count(), os.environ.get("CUDA_VISIBLE_DEVICES"))
        self.number = number
        self.pipe, theirs = context.Pipe()
        self.process = context.Process(target=serve, args=(theirs, setup, gpu), name=f"worker {number}", daemon=True)
        self.process.start()
        theirs.close()
        self.attempts_before = 0  # at its video

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


class ProcessPool(Pool[ProcessHandle]):
    """Workers as processes of this machine."""

    def __init__(self, setup: Setup, workers: int):
        super().__init__(setup, workers)
        self.attempts = Attempts(setup.output_dir)
        self.deaths: dict[str, list[str]] = defaultdict(list)
        self.early_deaths = 0

    def start_workers(self, wanted: int) -> None:
        """Put new processes in the free places."""
        taken = {handle.number for handle in self.handles}
        free = [number for number in range(self.workers) if number not in taken]
        for number in free[: max(0, wanted - len(taken))]:
            try:
                self.handles.append(ProcessHandle(self.setup, number))
            except (EOFError, ConnectionError):
                self._count_early_death("the process that forks workers was killed")  # the next one starts it anew

    def give(self, handle: ProcessHandle, video: VideoInput) -> None:
        """Send a video; a worker that died meanwhile is found out by its closed pipe."""
        handle.attempts_before = len(self.attempts.made(video.name))
        with suppress(OSError):
            handle.pipe.send(video)

    def listen(self) -> Iterator[tuple[VideoInput, Outcome]]:
        """Take one message of each worker that sent any, or notice its death."""
        by_pipe = {handle.pipe: handle for handle in self.handles}
        for pipe in wait(list(by_pipe), POLL_S):
            handle = by_pipe[pipe]
            try:
                kind, content = handle.pipe.recv()
            except (EOFError, OSError):
                yield from self._on_exit(handle)
                continue
            if kind == "fault":
                raise content
            if kind == "bug":
                where = "" if handle.video is None else f" at {handle.video.name}"
                raise RuntimeError(f"a worker failed unexpectedly{where}:\n{content}")
            if kind == "frame":
                self.counts["frames"] += 1
                continue
            self.early_deaths, handle.ready = 0, True
            video, handle.video = handle.video, None
            if video is not None:
                yield video, content

    def _on_exit(self, handle: ProcessHandle) -> Iterator[tuple[VideoInput, Outcome]]:
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
            return
        if len(made) >= MAX_ATTEMPTS:
            yield video, quarantine(made, self.deaths[video.name])
            return
        log.info(
            f"{video.name}: its worker died ({reason}); it is begun again, attempt {len(made) + 1} of {MAX_ATTEMPTS}"
        )
        self.counts["retried"] += 1
        self.waiting.appendleft(video)

    def _count_early_death(self, reason: str) -> None:
        self.early_deaths += 1
        if self.early_deaths >= MAX_EARLY_DEATHS:
            raise EnvironmentFault(
                f"{self.early_deaths} workers in a row died before they could begin a video (the last: {reason}). "
                f"Each loads a network of its own: run with fewer than workers={self.workers}"
            )

    def stop_workers(self) -> None:
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
            handle.process.kill()
            handle.process.join()
            handle.pipe.close()
        self.handles.clear()


def serve(pipe: Connection, setup: Setup, gpu: str | None) -> None:
    """The worker process. SIGTERM unwinds it; Ctrl-C is left to the main process, which it does not outlive."""
    threading.Thread(target=leave_with_parent, daemon=True).start()
    if gpu is not None:
        os.environ["CUDA_VISIBLE_DEVICES"] = gpu  # read when the first call reaches CUDA, which is below
    try:
        with noted_signals():
            worker = Worker(setup)
            check()
            pipe.send(("ready", None))
            while True:
                video = pipe.recv()
                pipe.send(("outcome", worker.do(video, lambda: pipe.send(("frame", None)))))
    except Interrupted as stop:
        sys.exit(128 + stop.number)
    except (EOFError, BrokenPipeError):
        return  # nobody is left to work for
    except XMemInferError as fault:
        pipe.send(("fault", fault))
    except Exception:
        pipe.send(("bug", traceback.format_exc()))


def start_method() -> Any:
    """How workers begin. Never forked from here: this process has threads and maybe a GPU.

    A fork server is a fresh process that imports torch once for all workers and for those who replace them.
    """
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__])
    # Ctrl-C goes to all processes of a terminal. Those started now never see it: workers wait for a word from here.
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        resource_tracker.ensure_running()  # else it is started within the next line, and that lifts the block
        forkserver.ensure_running()
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    return context


def gpu_of(worker: int, count: int, visible: str | None) -> str | None:
    """CUDA_VISIBLE_DEVICES for worker 0, 1, ...: one GPU each, in turn; None where there are not several.

    count: GPUs that torch sees. visible: the variable's value now, which names those GPUs.
    """
    if count < 2:
        return None
    names = visible.split(",")[:count] if visible else [str(number) for number in range(count)]
    return names[worker % count].strip()
