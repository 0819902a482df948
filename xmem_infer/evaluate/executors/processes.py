"""executor=processes: worker processes on this machine, replaced when they die."""

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
from .protocol import EXECUTORS, Outcome, Outcomes
from .worker import MAX_ATTEMPTS, Setup, Worker, quarantine
from .workers import POLL_S, STOP_S, Pool, WorkerHandle

log = logging.getLogger(__name__)

MAX_EARLY_DEATHS = 3  # consecutive deaths of workers that had not started a video


@EXECUTORS.register("processes")
def processes(video_run: VideoRun, weights: Path, videos: Sequence[VideoInput]) -> Outcomes:
    """Segment videos in worker processes; see `Executor`."""
    return ProcessPool(video_run, weights, videos, [usable_cores()]).outcomes()


class ProcessHandle(WorkerHandle):
    """A worker process and its pipe. `number` determines its GPU."""

    def __init__(self, setup: Setup, number: int):
        # One pipe per worker: a worker killed while it holds the lock of a shared queue would block all others.
        context = worker_context()
        gpu = gpu_for(number, torch.cuda.device_count(), os.environ.get("CUDA_VISIBLE_DEVICES"))
        self.number = number
        self.pipe, worker_end = context.Pipe()
        self.process = context.Process(target=serve, args=(worker_end, setup, gpu), daemon=True)
        self.process.start()
        worker_end.close()

    def exit_reason(self) -> str:
        """Return how the process ended; called after its pipe was closed."""
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
    """Workers as processes on this machine."""

    def __init__(self, *batch: Any):
        super().__init__(*batch)
        self.deaths: dict[str, list[str]] = defaultdict(list)  # how the workers of each video ended
        self.early_deaths = 0

    def start_workers(self, wanted: int) -> None:
        """Start processes with the lowest free numbers; see `Pool`."""
        taken = {handle.number for handle in self.handles}
        free = [number for number in range(self.workers) if number not in taken]
        for number in free[: max(0, wanted - len(taken))]:
            try:
                self.handles.append(ProcessHandle(self.setup, number))
            except (EOFError, ConnectionError):
                self._count_early_death("the process that forks workers was killed")  # it restarts with the next worker

    def assign(self, handle: ProcessHandle, video: VideoInput) -> None:
        """Send a video. If the worker has died, that is detected later, when its pipe turns out to be closed."""
        with suppress(OSError):
            handle.pipe.send(video)

    def receive(self) -> Iterator[tuple[VideoInput, Outcome]]:
        """Read one message from each worker that sent any, and handle the death of workers; see `Pool`."""
        by_pipe = {handle.pipe: handle for handle in self.handles}
        for pipe in wait(list(by_pipe), POLL_S):
            handle = by_pipe[pipe]
            try:
                kind, content = handle.pipe.recv()
            except (EOFError, OSError):
                yield from self._on_exit(handle)
                continue
            if kind == "frame":
                self.counts["frames"] += 1
            elif kind == "ready":
                self.early_deaths, handle.ready = 0, True
            elif kind == "outcome" and handle.video is not None:
                self.early_deaths, video, handle.video = 0, handle.video, None
                yield video, content
            elif kind == "fault":
                raise content
            else:
                where = handle.video.name if handle.video else "its start"
                raise RuntimeError(f"a worker failed unexpectedly at {where}:\n{content}")

    def _on_exit(self, handle: ProcessHandle) -> Iterator[tuple[VideoInput, Outcome]]:
        """Handle the death of a worker: queue its video again, or fail it if it has used up its attempts."""
        self.handles.remove(handle)
        handle.pipe.close()
        reason, video = handle.exit_reason(), handle.video
        if video is None:
            self._count_early_death(reason)
            return
        deaths = self.deaths[video.name]
        deaths.append(reason)
        if len(deaths) >= MAX_ATTEMPTS:
            yield video, quarantine(deaths)
            return
        log.info(
            f"{video.name}: its worker died ({reason}); it is retried, attempt {len(deaths) + 1} of {MAX_ATTEMPTS}"
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
        """End all workers; busy ones are terminated, and killed if they do not exit within STOP_S."""
        for handle in self.handles:
            if handle.ready and handle.video is None:
                handle.pipe.close()  # makes an idle worker exit
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
    """Run a worker process. SIGTERM stops it cleanly. It ignores Ctrl-C, and ends when the main process does."""
    threading.Thread(target=leave_with_parent, daemon=True).start()
    if gpu is not None:
        os.environ["CUDA_VISIBLE_DEVICES"] = gpu  # takes effect because CUDA is not initialised yet
    try:
        with noted_signals():
            worker = Worker(setup)
            check()
            pipe.send(("ready", None))
            while True:
                video = pipe.recv()
                pipe.send(("outcome", worker.segment(video, lambda: pipe.send(("frame", None)))))
    except Interrupted as stop:
        sys.exit(128 + stop.number)
    except (EOFError, BrokenPipeError):
        return  # the main process has closed the pipe or ended
    except XMemInferError as fault:
        pipe.send(("fault", fault))
    except Exception:
        pipe.send(("bug", traceback.format_exc()))


def worker_context() -> Any:
    """Return the multiprocessing context of workers.

    This process has threads and maybe a GPU context, so it must not be forked. A fork server is a fresh process that
    imports torch once for all workers.
    """
    if "forkserver" not in multiprocessing.get_all_start_methods():  # on Windows
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__])
    # Ctrl-C reaches all processes of a terminal. It is blocked in those started here: this process stops the workers.
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        resource_tracker.ensure_running()  # otherwise the next line starts it, which unblocks the signal
        forkserver.ensure_running()
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    return context


def gpu_for(worker: int, count: int, visible: str | None) -> str | None:
    """Return CUDA_VISIBLE_DEVICES for a worker (one GPU each, round robin), or None if there are fewer than two GPUs.

    worker: from 0; count: number of GPUs that torch sees; visible: the current value of CUDA_VISIBLE_DEVICES.
    """
    if count < 2:
        return None
    names = visible.split(",")[:count] if visible else [str(number) for number in range(count)]
    return names[worker % count].strip()
