"""Spreading small independent tasks over processes."""

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
    """The result of every item, in their order; in this process where one worker is enough.

    `task` and items travel to other processes, `at_once` items together, so both must pickle. Raises what `task`
    raises, and EnvironmentFault where a process dies.
    """
    workers = min(workers, len(items))
    if workers <= 1:
        yield from map(task, items)
        return
    opencv("scores need")  # its absence is told here; in a worker it would only look like a sudden death
    # Never forked from here: the caller may hold threads or a GPU, and neither survives a fork. A fork server
    # is a fresh process; it loads the modules once for all workers, and once for all calls.
    methods = multiprocessing.get_all_start_methods()
    context = multiprocessing.get_context("forkserver" if "forkserver" in methods else "spawn")
    context.set_forkserver_preload([f"{__package__}.score_folders", "cv2"])
    pool = ProcessPoolExecutor(workers, mp_context=context, initializer=start_worker)
    try:
        try:
            results = pool.map(task, items, chunksize=at_once)  # starts the processes
        except (EOFError, ConnectionError) as error:  # the process that forks them was killed
            raise BrokenProcessPool(str(error)) from error
        yield from results
    except BrokenProcessPool as error:
        raise EnvironmentFault(
            "a scoring process died, probably for lack of memory: run again with fewer, e.g. workers=1"
        ) from error
    finally:
        pool.shutdown(cancel_futures=True)


def start_worker() -> None:
    """One core per worker, no Ctrl-C (the parent sees to that), and no life after the parent's."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    opencv("scores need").setNumThreads(1)
    threading.Thread(target=leave_with_parent, daemon=True).start()


def leave_with_parent() -> None:
    """Wait for the parent's end, then go too: a killed parent can no longer tell its workers to."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
