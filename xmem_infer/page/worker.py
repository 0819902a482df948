"""Background thread that loads the network while the page is already shown, and then propagates masks."""

import logging
import threading
from collections.abc import Callable, Generator, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from time import perf_counter
from typing import TYPE_CHECKING, Any

from ..errors import XMemInferError

if TYPE_CHECKING:
    from ..predictor import Segmenter
    from ..results import FrameResult

log = logging.getLogger(__name__)

Publish = Callable[[dict[str, Any]], None]
PROGRESS_EVERY_S = 0.1


class Worker:
    """Runs all jobs of the network one after the other in a background thread.

    torch is imported in that thread, so that the page does not have to wait for it.

    Attributes:
        segmenter: The network; None until it is loaded.
        fault: Reason why the network could not be loaded, if so.
        running: Last `progress` event of the running propagation; None if there is none.
    """

    def __init__(self, publish: Publish) -> None:
        self.publish = publish
        self.segmenter: Segmenter | None = None
        self.fault: str | None = None
        self.running: dict[str, Any] | None = None
        self._stop = threading.Event()
        self._stop_ahead = threading.Event()
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="network")
        self._job: Future[None] | None = None

    def load(self, settings: Mapping[str, Any], size: tuple[int, int], then: Callable[[], None]) -> None:
        """Load the network in the background and warm it up, because its first use is slow.

        Args:
            settings: weights, memory, runtime and data, see `Segmenter.from_weights`.
            size: (H, W) of the black frames to warm up with.
            then: Called at the end, also if the network cannot be loaded.
        """

        def job() -> None:
            try:
                from ..predictor import Segmenter

                segmenter = Segmenter.from_weights(**settings)
                _warm(segmenter, size)
                self.segmenter = segmenter
            except XMemInferError as error:
                self.fault = str(error)
            except Exception as error:  # the executor would swallow it
                log.exception("the network could not be loaded")
                self.fault = f"the network could not be loaded: {error!r}"
            then()

        self._pool.submit(job)

    def run(
        self,
        total: int,
        results: "Callable[[Segmenter], Generator[FrameResult, None, None]]",
        put: "Callable[[FrameResult], None]",
        then: Callable[[], None],
    ) -> None:
        """Propagate in the background, until the results end or `stop` is called.

        Args:
            total: Expected number of results.
            results: Returns the results for a network.
            put: Called with each result.
            then: Called when the job ends, also after an error; not if it is cancelled before it starts.
        """
        self.stop()
        self._stop.clear()
        self.running = {"event": "progress", "running": True, "index": None, "done": 0, "total": total}
        self.running |= {"fps": None, "seconds_left": None}
        self._job = self._pool.submit(self._propagate, results, put, then)

    def run_when_idle(self, steps: "Callable[[Segmenter], Iterator[object]]") -> None:
        """Iterate over `steps` in the background until `stop` is called or another job is submitted."""
        self._stop_ahead.set()
        stop = self._stop_ahead = threading.Event()

        def job() -> None:
            try:
                if self.segmenter is not None and not stop.is_set():
                    for _ in steps(self.segmenter):
                        if stop.is_set():
                            break
            except XMemInferError as error:  # the propagation that needs this work reports the error
                log.debug(f"nothing was done ahead: {error}")
            except Exception:
                log.exception("work ahead failed")

        self._pool.submit(job)

    def stop(self) -> None:
        """Stop the running propagation after its current frame, wait for it, and stop the idle job."""
        self._stop.set()
        self._stop_ahead.set()
        job, self._job = self._job, None
        if job is not None and job.cancel():  # the network is still being loaded
            self._publish_end()
        elif job is not None:
            job.result()

    def close(self) -> None:
        """Stop, and accept no more jobs."""
        self.stop()
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _propagate(self, results: Any, put: Any, then: Callable[[], None]) -> None:
        try:
            if self.segmenter is None:
                raise XMemInferError(f"the network cannot be used: {self.fault}")
            if not self._stop.is_set():
                with closing(results(self.segmenter)) as stream:
                    self._consume(stream, put)
        except XMemInferError as error:
            self.publish({"event": "error", "message": str(error)})
        except Exception as error:
            log.exception("propagation failed")
            self.publish({"event": "error", "message": f"propagation failed: {error!r}"})
        finally:
            self._publish_end()
            then()

    def _publish_end(self) -> None:
        last, self.running = self.running or {}, None
        self.publish({**last, "running": False, "seconds_left": 0})

    def _consume(self, stream: Any, put: Any) -> None:
        started, published = perf_counter(), 0.0
        self.publish({**(self.running or {})})
        for done, result in enumerate(stream, 1):
            put(result)
            now = perf_counter()
            fps = done / (now - started)
            left = max(0, (self.running or {})["total"] - done)
            progress = {"index": result.frame.index, "done": done, "fps": round(fps, 2)}
            self.running = {**(self.running or {}), **progress, "seconds_left": round(left / fps, 1)}
            if now - published > PROGRESS_EVERY_S:
                published = now
                self.publish(self.running)
            if self._stop.is_set():
                break


def _warm(segmenter: "Segmenter", size: tuple[int, int]) -> None:
    import numpy as np

    from ..types import Frame, LabelMask

    ids = np.zeros(size, np.uint8)
    ids[: size[0] // 2, : size[1] // 2] = 1
    state = segmenter.start()
    for index in range(2):
        frame = Frame(index, str(index), np.zeros((*size, 3), np.uint8))
        prediction = segmenter.predict(state, frame, LabelMask(ids) if index == 0 else None)
        segmenter.result(frame, [prediction])
