"""executor=ray: actors on a Ray cluster that hold the network; Ray brings the dead back, on other nodes too."""

import logging
import os
import signal
import socket
import threading
import time
from collections import deque
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

from ...config import Device
from ...datasets.video_input import VideoInput
from ...errors import EnvironmentFault, UsageError, XMemInferError
from ...interrupts import check
from ...scoring.parallel import usable_cores
from ..video_run import VideoRun
from .protocol import EXECUTORS, Outcome, Outcomes
from .worker import Setup, Worker
from .workers import Progress, in_workers, worker_setup

log = logging.getLogger(__name__)

STOP_S = 1.5  # for actors to unwind; then they are killed. Less than interrupts.GRACE_S, which runs meanwhile
POLL_S = 0.25
PATIENCE_S = 30.0  # without any worker, before the user is told what is waited for
CONNECT_S = 5.0
OBJECT_STORE_BYTES = 100 * 2**20  # of a cluster of our own; nothing large passes through it


class Stopped(Exception):
    """The run is being stopped; raised between two frames."""


class RayWorker:
    """The actor. Built empty, because Ray takes an error at birth for the end of the actor.

    Two threads of Ray work in it: one at a time in `prepare` or `do`, and `stop` beside it.
    """

    def __init__(self, setup: Setup):
        self.setup = setup
        self.worker: Worker | None = None
        self.stopping = threading.Event()

    def prepare(self) -> XMemInferError | None:
        """Load the network; returns what is wrong here, if anything."""
        try:
            self._loaded()
        except XMemInferError as error:
            return error
        return None

    def do(self, video: VideoInput) -> Outcome | None:
        """Segment a video; Ray calls again after a death, with a new process. None: stopped."""
        try:
            return self._loaded().do(video, self._each_frame)
        except Stopped:
            return None
        except EnvironmentFault as fault:
            return fault

    def stop(self) -> None:
        """Have `do` give up at its next frame, and remove what is unfinished."""
        self.stopping.set()

    def _loaded(self) -> Worker:
        if self.worker is None:
            self.worker = Worker(self.setup)
        return self.worker

    def _each_frame(self) -> None:
        if self.stopping.is_set():
            raise Stopped


@EXECUTORS.register("ray")
def on_ray(video_run: VideoRun, weights: Path, videos: Sequence[VideoInput]) -> Outcomes:
    """See `protocol.Executor`."""

    def start(workers: int, videos: Sequence[VideoInput], progress: Progress) -> Outcomes:
        with connected(video_run.config.executor.address, workers):
            setup = worker_setup(video_run, weights, cluster_cores(), workers, " on a Ray cluster")
            yield from ActorPool(setup, workers, progress).outcomes(videos)

    return in_workers(video_run, videos, start)


class ActorPool:
    """Runs a batch on `workers` actors of the connected cluster. Faults of machines are raised."""

    def __init__(self, setup: Setup, workers: int, progress: Progress):
        self.setup = setup
        self.workers = workers
        self.progress = progress
        self.ray = import_ray()

    def outcomes(self, videos: Sequence[VideoInput]) -> Generator[tuple[VideoInput, Outcome], None, None]:
        """Every video with its outcome, in order of completion; begun in the order given."""
        waiting = deque(videos)
        actors = [self._start_actor() for _ in range(self.workers)]
        # A video goes to a worker that has shown itself: one for which the cluster has no room holds none up.
        pending: dict[Any, tuple[Any, VideoInput | None]] = {actor.prepare.remote(): (actor, None) for actor in actors}
        started = time.monotonic()
        try:
            while waiting or any(video is not None for _, video in pending.values()):
                check()
                answered, _ = self.ray.wait(list(pending), num_returns=1, timeout=POLL_S)
                for answer in answered:
                    actor, video = pending.pop(answer)
                    outcome = self._result(answer)
                    if isinstance(outcome, EnvironmentFault) or (video is None and outcome is not None):
                        raise outcome
                    started = float("inf")
                    if waiting:
                        following = waiting.popleft()
                        pending[actor.do.remote(following)] = (actor, following)
                    else:
                        self.ray.kill(actor)  # makes room for one that lost its node
                    if video is not None:
                        self.progress.retried += outcome.get("attempts", 1) - 1 if isinstance(outcome, dict) else 0
                        yield video, outcome
                self.progress.running = sum(video is not None for _, video in pending.values())
                self.progress.show()
                if time.monotonic() - started > PATIENCE_S:
                    started = float("inf")
                    log.info(f"waiting for room on the Ray cluster: a worker needs {self._needs()}")
        finally:
            self._stop_actors(actors, [answer for answer, (_, video) in pending.items() if video is not None])

    def _needs(self) -> dict[str, int]:
        runtime = self.setup.config.runtime
        return {"num_cpus": runtime.threads or 1, "num_gpus": int(runtime.device is Device.cuda)}

    def _start_actor(self) -> Any:
        # No limit on restarts: a node that is lost can cost several before Ray notices that it is. The limit is
        # on disk, per video.
        options = {"max_restarts": -1, "max_task_retries": -1, "max_concurrency": 2, **self._needs()}
        return self.ray.remote(**options)(RayWorker).remote(self.setup)

    def _result(self, answer: Any) -> Any:
        try:
            return self.ray.get(answer)
        except self.ray.exceptions.RayActorError as error:
            raise EnvironmentFault(f"Ray gave up on a worker: {error}") from error

    def _stop_actors(self, actors: list[Any], busy: list[Any]) -> None:
        """End all actors; those in the midst of a video first get the time to unwind."""
        if busy:
            for actor in actors:
                actor.stop.remote()
            self.ray.wait(busy, num_returns=len(busy), timeout=STOP_S)
        for actor in actors:
            self.ray.kill(actor)


def import_ray() -> ModuleType:
    """The module, or UsageError that says how to get it."""
    try:
        import ray
    except ImportError as error:
        raise UsageError(
            f"executor=ray needs Ray, which does not load here: {error}. Install it: "
            "`pip install -e '.[ray]'` in a checkout, or `pip install ray`; "
            "without it, videos run on this machine"
        ) from error
    return ray


def cluster_cores() -> list[int]:
    """CPUs that each living node of the connected cluster offers."""
    nodes = import_ray().nodes()
    return [int(node["Resources"].get("CPU", 0)) for node in nodes if node["Alive"]]


@contextmanager
def connected(address: str | None, workers: int) -> Iterator[None]:
    """Join the cluster at `address` or $RAY_ADDRESS, else start one on this machine; leave it afterwards.

    A connection that the caller made already is used and kept. Raises EnvironmentFault where nobody answers.
    """
    ray = import_ray()
    if ray.is_initialized():
        yield
        return
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing goes out unasked
    options: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
    where = address or os.environ.get("RAY_ADDRESS")
    if where:
        _check_address(where)
    else:
        # As many CPUs as workers asked for, also where there are fewer: asking for them is deciding it.
        options["num_cpus"] = max(workers, usable_cores())
        options |= {"include_dashboard": False, "object_store_memory": OBJECT_STORE_BYTES}
    on_term = signal.getsignal(signal.SIGTERM)
    try:
        ray.init(address=where, **options)
    except (ConnectionError, RuntimeError, ValueError) as error:
        raise EnvironmentFault(f"no Ray cluster at {where or 'this machine'}: {error}") from error
    finally:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, on_term)  # Ray puts its own in the place of this program's
    try:
        yield
    finally:
        ray.shutdown()


def _check_address(address: str) -> None:
    """Refuse an address where nobody listens: Ray itself would try for minutes, and tell only its log."""
    host, colon, port = address.removeprefix("ray://").rpartition(":")
    if not colon or not port.isdecimal():
        return  # "auto", "local"
    try:
        socket.create_connection((host, int(port)), CONNECT_S).close()
    except OSError as error:
        raise EnvironmentFault(
            f"no Ray cluster answers at {address} ({error}): start one (`ray start --head`), or correct "
            "executor.address or RAY_ADDRESS; without both, one is started on this machine"
        ) from error
