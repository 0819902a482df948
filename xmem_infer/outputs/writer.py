"""Write the results of one video in a background thread, and publish them when all are complete."""

from collections import deque
from collections.abc import Callable, Collection, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress

import av
import numpy as np

from ..config import OutputConfig
from ..errors import VideoError
from ..io.atomic import disk_fault
from ..types import Frame, ObjectConfidence
from . import files, overlay, preview  # noqa: F401  # imported because they register outputs
from .protocol import OUTPUTS, Item, Output, VideoDetails

QUEUE_FRAMES = 8  # results that wait while another one is written; `put` waits for room


def chosen_outputs(options: OutputConfig) -> list[str]:
    """Return the names of the outputs to write, in the order in which they are published.

    Masks come last: once masks/<video> has been replaced, all other outputs of the video have been replaced too. Raises
    UsageError if `output.also` contains the name of an output that is not registered.
    """
    # Confidence has no setting: it is always written.
    names = [name for name in ("overlay", "preview", "confidence", "scores", "masks") if getattr(options, name, True)]
    names = list(dict.fromkeys([*names, *options.also]))
    for name in names:
        OUTPUTS[name]
    return sorted(names, key=lambda name: name == "masks")


def redrawable(names: Collection[str]) -> frozenset[str]:
    """Names of those outputs that can be drawn later from the frames and the masks among the other outputs."""
    return frozenset(("overlay", "preview")).intersection(names) if "masks" in names else frozenset()


class VideoWriter:
    """Writes the outputs of one video in a background thread.

    Depending on `options`, these are masks/<video>/<frame>.png, overlay/<video>.mp4, preview/<video>.png,
    confidence/<video>.csv (always), scores/<video>/<frame>.npz and those of `output.also`, below the output folder.
    All results have temporary names until `close` renames them. An exception in the `with` block, or `abort`,
    removes the unfinished results and leaves previous results unchanged. If an output fails that can be redrawn from
    the masks, only that output is removed, and its error is stored in `failed` by the output's name.

    Raises:
        EnvironmentFault: Writing failed, for example because the disk is full; errors of the background thread are
            raised by the next `put` or by `close`.
        UsageError: `output.also` contains the name of an output that is not registered.
    """

    def __init__(self, video: VideoDetails, options: OutputConfig) -> None:
        self.video = video.name
        self.outputs: dict[str, Output] = {name: OUTPUTS[name](video) for name in chosen_outputs(options)}
        self.needs_scores = any(output.needs_scores for output in self.outputs.values())
        self.failed: dict[str, Exception] = {}
        self.each(lambda output: output.staged.prepare())
        self.frames = 0
        self.closed = False
        self.thread = ThreadPoolExecutor(1, f"write {video.name}")
        self.unfinished: deque[Future[None]] = deque()  # results that are queued or being written

    def put(
        self,
        frame: Frame,
        mask: np.ndarray,
        confidence: Mapping[int, ObjectConfidence],
        scores: np.ndarray | None = None,
    ) -> None:
        """Queue the result of one frame, see `Item`; waits while the queue is full.

        Arrays are not copied and must not change until written. `scores`, required if `needs_scores`, may also be
        float in [0, 1]. Raises what writing an earlier frame raised, for example EnvironmentFault.
        """
        self.wait(QUEUE_FRAMES)
        if scores is not None and scores.dtype != np.uint8:
            scores = np.rint(np.asarray(scores, np.float32) * 255).astype(np.uint8)
        item = Item(frame, mask, dict(confidence), scores)
        may_fail = redrawable(self.outputs)
        self.unfinished.append(self.thread.submit(self.each, lambda output: output.write(item), may_fail))
        self.frames += 1

    def wait(self, queued: int = 0) -> None:
        """Wait until at most `queued` results are not finished. Raises what writing a result raised."""
        while self.unfinished and (len(self.unfinished) > queued or self.unfinished[0].done()):
            self.unfinished[0].result()
            self.unfinished.popleft()

    def each(self, step: Callable[[Output], None], may_fail: Collection[str] = ()) -> None:
        """Call `step` for every output that has not failed; those in `may_fail` are removed if it fails."""
        for name, output in self.outputs.items():
            if name not in self.failed:
                try:
                    step(output)
                except Exception as error:
                    self._fail(name, error, may_fail)

    def _fail(self, name: str, error: Exception, may_fail: Collection[str]) -> None:
        """Remove an output in `may_fail` and note its error; raise the error of any other, with its path."""
        path, fault = self.outputs[name].staged.final, error
        if isinstance(error, OSError):
            fault = disk_fault(error, path)
        elif isinstance(error, av.FFmpegError):
            fault = VideoError(f"{path} cannot be encoded ({error}); output.{name}=false leaves it out")
        if name in may_fail:
            self.failed[name] = fault
            self.outputs[name].discard()  # this also frees disk space for the masks
        elif fault is error:
            raise error
        else:
            raise fault from error

    def close(self) -> None:
        """Wait until all results are written, then publish them; after an error, remove them and raise it."""
        if self.closed:
            return
        try:
            self.wait()
            if self.frames == 0:
                raise VideoError(f"{self.video}: no frame was segmented, so there is nothing to write")
            self.each(lambda output: output.finish(), redrawable(self.outputs))
            for name in self.failed:
                with suppress(OSError):
                    self.outputs[name].staged.withdraw()  # a previous one does not match the new masks
            self.each(lambda output: output.staged.publish())
        finally:
            self.abort()

    def abort(self) -> None:
        """Stop after the frame that is being written, and remove all unfinished results."""
        self.closed = True
        self.thread.shutdown(cancel_futures=True)
        for output in self.outputs.values():
            output.discard()

    def __enter__(self) -> "VideoWriter":
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            self.close()
        else:
            self.abort()
