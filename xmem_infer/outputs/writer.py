"""Results of one video to disk, in a background thread and whole or not at all."""

import queue
import threading
from collections.abc import Callable, Mapping
from operator import methodcaller
from types import TracebackType

import numpy as np

from ..config import OutputConfig
from ..errors import VideoError
from ..io.atomic import disk_fault
from ..types import Frame, ObjectConfidence
from . import files, overlay, preview  # noqa: F401  # they register themselves
from .protocol import OUTPUTS, Item, Output, VideoDetails


def chosen_outputs(options: OutputConfig) -> list[str]:
    """Names of the outputs that the settings ask for, in the order of publication.

    Masks come last: where masks/<video> is new, everything else of the video is new too. Confidence is always
    written.

    Raises:
        UsageError: `output.also` names an output that nobody registered.
    """
    names = [name for name in ("overlay", "preview") if getattr(options, name)]
    names += ["confidence", *(["scores"] if options.scores else []), *options.also]
    names = [name for name in dict.fromkeys(names) if name != "masks"]
    if options.masks or "masks" in options.also:
        names.append("masks")
    for name in names:
        OUTPUTS[name]
    return names


class VideoWriter:
    """Writes the outputs of one video in a background thread.

    Below the output folder: masks/<video>/<frame>.png, overlay/<video>.mp4, preview/<video>.png,
    confidence/<video>.csv (always), scores/<video>/<frame>.npz and those of `output.also`, as `options` ask.
    Nothing has its final name before `close`, which renames all of it. An exception inside `with`, or `abort`,
    removes everything unfinished; older results then stay.

    size: (H, W) of the frames. queue_frames: results held before `put` waits.

    Raises:
        EnvironmentFault: The disk refuses; here, by the next `put` or by `close`.
        UsageError: `output.also` names an output that nobody registered.
    """

    def __init__(
        self, video: VideoDetails, size: tuple[int, int], options: OutputConfig, queue_frames: int = 8
    ) -> None:
        self.video, self.size = video.name, size
        self.outputs: list[Output] = [OUTPUTS[name](video) for name in chosen_outputs(options)]
        self.needs_scores = any(output.needs_scores for output in self.outputs)
        self.each(methodcaller("stage"))
        self.frames = 0
        self.closed = False
        self.error: BaseException | None = None
        self.cancelled = threading.Event()
        self.items: queue.Queue[Item | None] = queue.Queue(maxsize=queue_frames)
        self.thread = threading.Thread(target=self.run, name=f"write {video.name}", daemon=True)
        self.thread.start()

    def put(
        self,
        frame: Frame,
        mask: np.ndarray,
        confidence: Mapping[int, ObjectConfidence],
        scores: np.ndarray | None = None,
    ) -> None:
        """Hand over one frame's result; waits while the queue is full.

        Args:
            frame: With its (H, W, 3) uint8 picture. Arrays are kept by reference until written.
            mask: (H, W) uint8 object ids.
            confidence: By object id.
            scores: (O + 1, H, W), background first, then the ids in the order of `confidence`; uint8, or float
                in [0, 1]. Needed where `needs_scores`.

        Raises:
            ValueError: Other shapes or types.
            EnvironmentFault: What went wrong in the background.
        """
        if self.error is not None:
            raise self.error
        # Here, with the caller's line in the traceback, is refused what no file could hold.
        if self.closed:
            raise RuntimeError(f"the writer of {self.video} is closed")
        if mask.shape != self.size or mask.dtype != np.uint8:
            raise ValueError(f"mask must be uint8 {self.size}, got {mask.dtype} {mask.shape}")
        image, wanted = frame.image, (*self.size, 3)
        if image.shape != wanted or image.dtype != np.uint8:
            raise ValueError(f"the image of frame {frame.name} must be uint8 {wanted}, got {image.dtype} {image.shape}")
        found, expected = None if scores is None else scores.shape, (len(confidence) + 1, *self.size)
        if self.needs_scores and found != expected:
            raise ValueError(f"output.scores needs scores of shape {expected} (background first), got {found}")
        if scores is not None and scores.dtype != np.uint8:
            scores = np.rint(np.asarray(scores, np.float32) * 255).astype(np.uint8)
        self.items.put(Item(frame, mask, dict(confidence), scores if self.needs_scores else None))
        self.frames += 1

    def run(self) -> None:
        """The thread: write until told to stop; after an error or abort only empty the queue."""
        while (item := self.items.get()) is not None:
            if self.error is not None or self.cancelled.is_set():
                continue
            try:
                for output in self.outputs:
                    output.write(item)
            except OSError as error:
                self.error = disk_fault(error, output.staged.final)
            except BaseException as error:  # nobody else would see it
                self.error = error

    def each(self, step: Callable[[Output], None]) -> None:
        """Take a step with every output; where the disk refuses, the message names the output."""
        for output in self.outputs:
            try:
                step(output)
            except OSError as error:
                raise disk_fault(error, output.staged.final) from error

    def close(self) -> None:
        """Wait until everything is written, then publish it; on an error remove it and raise."""
        if self.closed:
            return
        try:
            self.stop()
            if self.error is not None:
                raise self.error
            if self.frames == 0:
                raise VideoError(f"{self.video}: no frame was segmented, so there is nothing to write")
            self.each(methodcaller("finish"))
            self.each(methodcaller("publish"))
        except BaseException:
            self.abort()
            raise

    def abort(self) -> None:
        """Stop after the frame being written and remove everything unfinished."""
        self.cancelled.set()
        self.stop()
        for output in self.outputs:
            output.discard()

    def stop(self) -> None:
        """Let the thread finish the queue and end; safe to call again after an interrupt."""
        self.closed = True
        if self.thread.is_alive():
            self.items.put(None)
            self.thread.join()

    def __enter__(self) -> "VideoWriter":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.close()
        else:
            self.abort()
