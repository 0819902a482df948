"""executor=ray: actors on a Ray cluster; Ray restarts actors that die, on other nodes if necessary."""

import logging
import os
import signal
import socket
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

from ...config import Device
from ...datasets.video_input import VideoInput
from ...errors import EnvironmentFault, UsageError, XMemInferError
from ...runtime.cores import usable_cores
from ..video_run import VideoRun
from .protocol import EXECUTORS, Outcome, Outcomes
from .worker import Setup, Worker
from .workers import POLL_S, STOP_S, Pool, WorkerHandle

log = logging.getLogger(__name__)

PATIENCE_S = 30.0  # without any worker, before a message says what it waits for
CONNECT_S = 5.0
OBJECT_STORE_BYTES = 100 * 2**20  # for a cluster started here; no large objects are stored


class StopRequested(Exception):
    """The run is being stopped; raised between two frames."""


class RayWorker:
    """The actor class. The constructor loads nothing, because Ray regards an error in it as the death of the actor.

    Ray calls it from two threads: one runs `segment`, the other `stop`.
    """

    def __init__(self, setup: Setup):
        self.setup = setup
        self.worker: Worker | None = None
        self.stopping = threading.Event()

    def segment(self, video: VideoInput | None) -> Outcome | None:
        """Segment a video, or only load the network if it is None; returns None in that case, and if stopped.

        After a death Ray repeats the call in a new process.
        """
        try:
            self.worker = self.worker or Worker(self.setup)
            return None if video is None else self.worker.segment(video, self._each_frame)
        except StopRequested:
            return None
        except XMemInferError as error:
            return error

    def stop(self) -> None:
        """Make `segment` abort at its next frame and remove its partial outputs."""
        self.stopping.set()

    def _each_frame(self) -> None:
        if self.stopping.is_set():
            raise StopRequested


@EXECUTORS.register("ray")
def on_ray(video_run: VideoRun, weights: Path, videos: Sequence[VideoInput]) -> Outcomes:
    """Segment videos on a Ray cluster; see `Executor`."""
    with connected(video_run.config.executor.address, min(video_run.config.workers, len(videos))):
        cores = [int(node["Resources"].get("CPU", 0)) for node in import_ray().nodes() if node["Alive"]]
        yield from ActorPool(video_run, weights, videos, cores, " on a Ray cluster").outcomes()


class ActorHandle(WorkerHandle):
    """An actor and its pending call.

    It gets no video before it has loaded its network, because the cluster may have no room for the actor yet.
    """

    def __init__(self, actor: Any):
        self.actor = actor
        self.answer = actor.segment.remote(None)


class ActorPool(Pool[ActorHandle]):
    """Workers as actors of the connected cluster, which restarts those that die."""

    def __init__(self, *batch: Any):
        super().__init__(*batch)
        self.ray = import_ray()
        self.hint_at = time.monotonic() + PATIENCE_S  # when to log what the run is waiting for

    def start_workers(self, wanted: int) -> None:
        """Start actors, and end idle ones once no video is waiting, to make room for one that lost its node."""
        runtime = self.setup.config.runtime
        needs = {"num_cpus": runtime.threads or 1, "num_gpus": int(runtime.device is Device.cuda)}
        # Unlimited restarts: a lost node can cause several before Ray notices it. `Attempts` limits them per video.
        options = {"max_restarts": -1, "max_task_retries": -1, "max_concurrency": 2, **needs}
        while len(self.handles) < wanted:
            self.handles.append(ActorHandle(self.ray.remote(**options)(RayWorker).remote(self.setup)))
        for handle in [handle for handle in self.handles if handle.ready and handle.video is None]:
            if not self.waiting:
                self.ray.kill(handle.actor)
                self.handles.remove(handle)
        if time.monotonic() > self.hint_at:
            self.hint_at = float("inf")
            log.info(f"waiting for room on the Ray cluster: a worker needs {needs}")

    def assign(self, handle: ActorHandle, video: VideoInput) -> None:
        """Call the actor; Ray repeats the call if the actor dies."""
        handle.answer = handle.actor.segment.remote(video)

    def receive(self) -> Iterator[tuple[VideoInput, Outcome]]:
        """Wait for the result of one call; see `Pool`."""
        by_answer = {handle.answer: handle for handle in self.handles}
        answered, _ = self.ray.wait(list(by_answer), num_returns=1, timeout=POLL_S)
        for answer in answered:
            handle = by_answer[answer]
            try:
                outcome = self.ray.get(answer)
            except self.ray.exceptions.RayActorError as error:
                raise EnvironmentFault(f"Ray gave up on a worker: {error}") from error
            if isinstance(outcome, EnvironmentFault) or (handle.video is None and outcome is not None):
                raise outcome
            self.hint_at, handle.ready = float("inf"), True
            video, handle.video = handle.video, None
            if video is not None:
                self.counts["retried"] += outcome.get("attempts", 1) - 1 if isinstance(outcome, dict) else 0
                yield video, outcome

    def stop_workers(self) -> None:
        """End all actors; busy ones have STOP_S to clean up before they are killed."""
        busy = [handle.answer for handle in self.handles if handle.video is not None]
        if busy:
            for handle in self.handles:
                handle.actor.stop.remote()
            self.ray.wait(busy, num_returns=len(busy), timeout=STOP_S)
        for handle in self.handles:
            self.ray.kill(handle.actor)


def import_ray() -> ModuleType:
    """Return the module `ray`. Raises UsageError, with instructions, if it cannot be imported."""
    try:
        import ray
    except ImportError as error:
        raise UsageError(
            f"executor=ray needs Ray, which does not load here: {error}. Install it: "
            "`pip install -e '.[ray]'` in a checkout, or `pip install ray`; "
            "without it, videos run on this machine"
        ) from error
    return ray


@contextmanager
def connected(address: str | None, workers: int) -> Iterator[None]:
    """Connect to the cluster at `address` or $RAY_ADDRESS, or start one on this machine; disconnect at the end.

    An existing connection is used and left open. Raises EnvironmentFault if no cluster answers.
    """
    ray = import_ray()
    if ray.is_initialized():
        yield
        return
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # send no statistics unless the user asked for it
    options: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
    where = address or os.environ.get("RAY_ADDRESS")
    if where:
        _check_address(where)
    else:
        # At least as many CPUs as workers, even if there are fewer: the user decides how many workers to run.
        options["num_cpus"] = max(workers, usable_cores())
        options |= {"include_dashboard": False, "object_store_memory": OBJECT_STORE_BYTES}
    on_term = signal.getsignal(signal.SIGTERM)
    try:
        ray.init(address=where, **options)
    except (ConnectionError, RuntimeError, ValueError) as error:
        raise EnvironmentFault(f"no Ray cluster at {where or 'this machine'}: {error}") from error
    finally:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, on_term)  # Ray replaces the handler of this program
    try:
        yield
    finally:
        ray.shutdown()


def _check_address(address: str) -> None:
    """Refuse an address that does not answer: Ray would retry for minutes and report it only in its log."""
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
