"""Background thread that loads the network while the page is already shown, and then propagates masks."""

import logging
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from time import perf_counter
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import XMemInferError
from ..types import Frame, LabelMask

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
        self._encoded: Any = None  # cache of encoded references
        self._stop = threading.Event()  # stops the jobs submitted since the last call of `stop`
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="network")
        self._propagation: Future[None] | None = None

    def load(self, settings: Mapping[str, Any], size: tuple[int, int], then: Callable[[], None]) -> None:
        """Load the network in the background and warm it up, because its first use is slow.

        Args:
            settings: weights, memory, runtime and data, see `Segmenter.from_weights`.
            size: (H, W) of the black frames to warm up with.
            then: Called at the end, also if the network cannot be loaded.
        """

        def work() -> None:
            from ..predictor import Segmenter
            from ..propagation.encoded_references import EncodedReferences

            segmenter, self._encoded = Segmenter.from_weights(**settings), EncodedReferences()
            _warm(segmenter, size)
            self.segmenter = segmenter

        def failed(message: str) -> None:
            self.fault = message

        self._submit("loading the network", work, failed, then)

    def propagate(
        self, total: int, put: "Callable[[FrameResult], None]", then: Callable[[], None], **request: Any
    ) -> None:
        """Propagate in the background, until all frames are done or `stop` is called.

        Args:
            total: Expected number of results.
            put: Called with each result.
            then: Called when the job ends, also after an error; not if it is cancelled before it starts.
            request: Arguments of the function `propagate`.
        """
        self.stop()
        self.running = {"event": "progress", "running": True, "done": 0, "total": total}
        stop = self._stop

        def work() -> None:
            from ..propagation.propagate import propagate

            if stop.is_set():
                return
            if self.segmenter is None:
                raise XMemInferError(f"the network cannot be used: {self.fault}")
            with closing(propagate(self.segmenter, provisional=True, encoded=self._encoded, **request)) as results:
                for result in self._reported(results, total):
                    put(result)
                    if stop.is_set():
                        break

        def failed(message: str) -> None:
            self.publish({"event": "error", "message": message})

        def end() -> None:
            self._publish_end()
            then()

        self._propagation = self._submit("propagation", work, failed, end)

    def encode_ahead(self, references: Callable[[], Mapping[str, Any]]) -> None:
        """Encode references while the thread is idle, until `stop` is called.

        references: Returns arguments of the function `encode_ahead`.
        """
        stop = self._stop

        def work() -> None:
            from ..propagation.propagate import encode_ahead

            if self.segmenter is not None and not stop.is_set():
                for _ in encode_ahead(self.segmenter, encoded=self._encoded, **references()):
                    if stop.is_set():
                        break

        self._submit("encoding ahead", work, log.debug)  # the propagation that needs the references reports the error

    def stop(self) -> None:
        """Stop the running propagation after its current frame, wait for it, and stop encoding ahead."""
        self._stop.set()
        self._stop = threading.Event()
        job, self._propagation = self._propagation, None
        if job is not None and job.cancel():  # the network is still being loaded
            self._publish_end()
        elif job is not None:
            job.result()

    def close(self) -> None:
        """Stop, and accept no more jobs."""
        self.stop()
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _submit(
        self, what: str, work: Callable[[], None], failed: Callable[[str], None], then: Callable[[], None] | None = None
    ) -> Future[None]:
        """Queue a job. `failed` is called with a message if `work` raises an error; `then` at the end in any case."""

        def job() -> None:
            try:
                work()
            except Exception as error:  # the executor would swallow it
                failed(failure_message(what, error))
            finally:
                if then is not None:
                    then()

        return self._pool.submit(job)

    def _reported(self, results: "Iterable[FrameResult]", total: int) -> "Iterator[FrameResult]":
        """Yield all results, and publish the progress after each."""
        started, published = perf_counter(), 0.0
        for done, result in enumerate(results, 1):
            yield result
            now = perf_counter()
            fps = done / (now - started)
            timing = {"fps": round(fps, 2), "seconds_left": round(max(0, total - done) / fps, 1)}
            self.running = {"event": "progress", "running": True, "done": done, "total": total, **timing}
            if now - published > PROGRESS_EVERY_S:
                published = now
                self.publish(self.running)

    def _publish_end(self) -> None:
        self.running = None
        self.publish({"event": "progress", "running": False})


def failure_message(what: str, error: Exception) -> str:
    """Return the message for the user. An error of this program itself is also logged."""
    if isinstance(error, XMemInferError):
        return str(error)
    log.error(f"{what} failed", exc_info=error)
    return f"{what} failed: {error!r}"


def _warm(segmenter: "Segmenter", size: tuple[int, int]) -> None:
    ids = np.zeros(size, np.uint8)
    ids[: size[0] // 2, : size[1] // 2] = 1
    state = segmenter.start()
    for index in range(2):
        frame = Frame(index, str(index), np.zeros((*size, 3), np.uint8))
        prediction = segmenter.predict(state, frame, LabelMask(ids) if index == 0 else None)
        segmenter.result(frame, [prediction])
