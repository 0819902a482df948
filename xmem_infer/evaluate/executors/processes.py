"""engine=local: worker processes on this machine, fed by this one, replaced when they die."""

import multiprocessing
import os
import signal
import sys
import threading
import time
import traceback
from collections import defaultdict, deque
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager, suppress
from multiprocessing import forkserver, resource_tracker
from multiprocessing.connection import Connection, wait
from typing import Any

import torch

from ...errors import EnvironmentFault, XMemInferError
from ...interrupts import Interrupted, check, noted_signals
from ...scoring.parallel import leave_with_parent
from ..jobs import Say, VideoJob
from .attempts import MAX_ATTEMPTS, Attempts, quarantine
from .progress import Progress
from .sharing import gpu_of
from .worker import Outcome, Setup, Worker

STOP_S = 1.5  # for a worker to unwind; then it is killed. Less than interrupts.GRACE_S, which runs meanwhile
POLL_S = 0.25
MAX_EARLY_DEATHS = 3  # in a row, of workers that had not begun a video


class Hand:
    """A worker process as its employer sees it. number: its place, which decides its GPU."""

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
        self.job: VideoJob | None = None
        self.attempts_before = 0

    def give(self, job: VideoJob, attempts_before: int) -> None:
        """Hand over a video; a worker that died meanwhile is found out by its closed pipe."""
        self.job, self.attempts_before = job, attempts_before
        with suppress(OSError):
            self.pipe.send(job)

    def last_words(self) -> str:
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


class LocalEngine:
    """Runs a batch on `workers` processes. Faults of the machine are raised, a video's own are outcomes."""

    def __init__(self, setup: Setup, workers: int, progress: Progress, say: Say):
        self.setup = setup
        self.workers = workers
        self.progress = progress
        self.say = say
        self.attempts = Attempts(setup.output_dir)
        self.hands: list[Hand] = []
        self.waiting: deque[VideoJob] = deque()
        self.deaths: dict[str, list[str]] = defaultdict(list)
        self.early_deaths = 0

    def outcomes(self, jobs: Sequence[VideoJob]) -> Generator[tuple[VideoJob, Outcome], None, None]:
        """Every job with its outcome, in order of completion; begun in the order given."""
        self.waiting.extend(jobs)
        try:
            while self.waiting or self._busy():
                check()
                self._hire()
                self._hand_out()
                self.progress.running = self._busy()
                self.progress.show()
                by_pipe = {hand.pipe: hand for hand in self.hands}
                for pipe in wait(list(by_pipe), POLL_S):
                    done = self._listen(by_pipe[pipe])
                    if done is not None:
                        yield done
        finally:
            self._dismiss()

    def _busy(self) -> int:
        return sum(hand.job is not None for hand in self.hands)

    def _hire(self) -> None:
        """As many workers as there is work for."""
        wanted = min(self.workers, len(self.waiting) + self._busy())
        free = [number for number in range(self.workers) if all(number != hand.number for hand in self.hands)]
        for number in free[: max(0, wanted - len(self.hands))]:
            self.hands.append(Hand(self.setup, number))

    def _hand_out(self) -> None:
        for hand in self.hands:
            if hand.ready and hand.job is None and self.waiting:
                job = self.waiting.popleft()
                hand.give(job, len(self.attempts.made(job.name)))

    def _listen(self, hand: Hand) -> tuple[VideoJob, Outcome] | None:
        """Take one message of a worker, or notice its death."""
        try:
            kind, content = hand.pipe.recv()
        except (EOFError, OSError):
            return self._bury(hand)
        if kind == "fault":
            raise content
        if kind == "bug":
            raise RuntimeError(f"a worker failed unexpectedly{_at(hand)}:\n{content}")
        if kind == "frame":
            self.progress.frames += 1
            return None
        self.early_deaths = 0
        hand.ready = True
        job, hand.job = hand.job, None
        return None if job is None else (job, content)

    def _bury(self, hand: Hand) -> tuple[VideoJob, Outcome] | None:
        """A worker died: its video waits for another one, or has had its chances."""
        self.hands.remove(hand)
        hand.pipe.close()
        words, job = hand.last_words(), hand.job
        made = [] if job is None else self.attempts.made(job.name)
        if job is None or len(made) == hand.attempts_before:
            self._count_early_death(words)
        else:
            self.deaths[job.name].append(words)
        if job is None:
            return None
        if len(made) >= MAX_ATTEMPTS:
            return job, quarantine(made, self.deaths[job.name])
        self.say(f"{job.name}: its worker died ({words}); it is begun again, attempt {len(made) + 1} of {MAX_ATTEMPTS}")
        self.progress.retried += 1
        self.waiting.appendleft(job)
        return None

    def _count_early_death(self, words: str) -> None:
        self.early_deaths += 1
        if self.early_deaths >= MAX_EARLY_DEATHS:
            raise EnvironmentFault(
                f"{self.early_deaths} workers in a row died before they could begin a video (the last: {words}). "
                f"Each loads a network of its own: run with fewer than workers={self.workers}"
            )

    def _dismiss(self) -> None:
        """End all workers: those in the midst of a video unwind and remove what is unfinished, or are killed."""
        for hand in self.hands:
            if hand.ready and hand.job is None:
                hand.pipe.close()  # the end of its work
            else:
                hand.process.terminate()
        deadline = time.monotonic() + STOP_S
        for hand in self.hands:
            hand.process.join(max(0.0, deadline - time.monotonic()))
        for hand in self.hands:
            if hand.process.is_alive():
                hand.process.kill()
                hand.process.join()
            hand.pipe.close()
        self.hands.clear()


def serve(pipe: Connection, setup: Setup, gpu: str | None) -> None:
    """A worker's life. SIGTERM unwinds it; Ctrl-C is its employer's affair; it does not outlive that one."""
    threading.Thread(target=leave_with_parent, daemon=True).start()
    if gpu is not None:
        os.environ["CUDA_VISIBLE_DEVICES"] = gpu  # read when the first call reaches CUDA, which is below
    try:
        with noted_signals():
            _serve(pipe, setup)
    except Interrupted as stop:
        sys.exit(128 + stop.number)
    except (EOFError, BrokenPipeError):
        return  # nobody is left to work for


def _serve(pipe: Connection, setup: Setup) -> None:
    try:
        worker = Worker(setup)
        check()
        pipe.send(("ready", None))
        while True:
            job = pipe.recv()
            pipe.send(("outcome", worker.do(job, lambda: pipe.send(("frame", None)))))
    except XMemInferError as fault:
        pipe.send(("fault", fault))
    except (EOFError, BrokenPipeError):
        raise
    except Exception:
        pipe.send(("bug", traceback.format_exc()))


def _at(hand: Hand) -> str:
    return "" if hand.job is None else f" at {hand.job.name}"


@contextmanager
def held_back(number: signal.Signals) -> Iterator[None]:
    """Keep a signal pending, and blocked for good in processes started meanwhile; delivered here afterwards."""
    signal.pthread_sigmask(signal.SIG_BLOCK, {number})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {number})
