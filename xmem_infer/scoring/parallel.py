"""Run small independent tasks in worker processes."""

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import TypeVar

from ..errors import EnvironmentFault
from ..io.opencv import opencv

Item = TypeVar("Item")
Result = TypeVar("Result")


def in_parallel(
    task: Callable[[Item], Result], items: Sequence[Item], workers: int, at_once: int = 1
) -> Iterator[Result]:
    """Yield `task(item)` for every item in order; with a single worker or item, all in this process.

    Task and items must be picklable. at_once: number of items sent to a process together. Raises EnvironmentFault if a
    worker process died; exceptions of `task` are re-raised.
    """
    workers = min(workers, len(items))
    if workers <= 1:
        yield from map(task, items)
        return
    opencv("scores need")  # reports a missing OpenCV here; in a worker it would only look like a crash
    # This process must not be forked, because threads and GPU contexts of the caller do not survive a fork. The fork
    # server is a fresh process that imports the modules once for all workers and all calls.
    methods = multiprocessing.get_all_start_methods()
    context = multiprocessing.get_context("forkserver" if "forkserver" in methods else "spawn")
    context.set_forkserver_preload([f"{__package__}.score_folders", "cv2"])
    pool = ProcessPoolExecutor(workers, mp_context=context, initializer=start_worker)
    try:
        yield from pool.map(task, items, chunksize=at_once)
    except (BrokenProcessPool, EOFError, ConnectionError) as error:  # the last two if the fork server was killed
        raise EnvironmentFault(
            "a scoring process died, probably for lack of memory: run again with fewer, e.g. workers=1"
        ) from error
    finally:
        pool.shutdown(cancel_futures=True)


def start_worker() -> None:
    """Initialise a worker: one thread, Ctrl-C left to the parent, and exit when the parent process ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    opencv("scores need").setNumThreads(1)
    threading.Thread(target=leave_with_parent, daemon=True).start()


def leave_with_parent() -> None:
    """Exit when the parent process ends, because a killed parent cannot stop its workers."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
