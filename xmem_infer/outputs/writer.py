"""Results of one video to disk, behind the caller's back and whole or not at all."""

import queue
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType

import numpy as np

from ..config import OutputConfig
from ..errors import VideoError
from ..io.atomic import disk_fault
from ..types import Frame, ObjectConfidence
from .overlay import OverlayVideo
from .preview import PreviewSheet
from .sinks import ConfidenceTable, Item, MaskFolder, ScoreFolder, Sink


class VideoWriter:
    """Writes masks, overlay, preview, confidence and scores of one video in a background thread.

    Below `output_dir`: masks/<video>/<frame>.png, overlay/<video>.mp4, preview/<video>.png,
    confidence/<video>.csv (always), scores/<video>/<frame>.npz, as `options` ask. Nothing has its final
    name before `close`, which renames all of it, masks last: where masks/<video> is new, the rest is too.
    An exception inside `with`, or `abort`, removes everything unfinished; older results then stay.

    size: (H, W) of the frames. palette: the input mask's, None = DAVIS's. fps: for frames without time_s.
    count: number of frames where known (a hint). queue_frames: results held before `put` waits.
    Disk errors are raised as EnvironmentFault, here, by the next `put` or by `close`.
    """

    def __init__(
        self,
        output_dir: Path,
        video: str,
        size: tuple[int, int],
        palette: bytes | None,
        options: OutputConfig,
        fps: float | None = None,
        count: int | None = None,
        queue_frames: int = 8,
    ) -> None:
        self.video = video
        self.size = size
        self.wants_scores = options.scores
        output_dir = Path(output_dir)
        self.sinks: list[Sink] = []  # in the order of publication
        if options.overlay:
            self.sinks.append(OverlayVideo(output_dir / "overlay" / f"{video}.mp4", palette, fps))
        if options.preview:
            self.sinks.append(PreviewSheet(output_dir / "preview" / f"{video}.png", palette, count))
        self.sinks.append(ConfidenceTable(output_dir / "confidence" / f"{video}.csv"))
        if options.scores:
            self.sinks.append(ScoreFolder(output_dir / "scores" / video))
        if options.masks:
            self.sinks.append(MaskFolder(output_dir / "masks" / video, palette))
        for sink in self.sinks:
            with named(sink):
                sink.staged.prepare()

        self.frames = 0
        self.closed = False
        self.error: BaseException | None = None
        self.cancelled = threading.Event()
        self.items: queue.Queue[Item | None] = queue.Queue(maxsize=queue_frames)
        self.thread = threading.Thread(target=self.run, name=f"write {video}", daemon=True)
        self.thread.start()

    def put(
        self,
        frame: Frame,
        mask: np.ndarray,
        confidence: dict[int, ObjectConfidence],
        scores: np.ndarray | None = None,
    ) -> None:
        """Hand over one frame's result; waits while the queue is full.

        mask: (H, W) uint8. confidence: by label. scores: (O + 1, H, W), background first, then the mask
        in the order of `confidence`; uint8, or float in [0, 1]. Arrays are kept by reference until written.
        Raises ValueError on other shapes, or what went wrong in the background.
        """
        if self.error is not None:
            raise self.error
        self.check(frame, mask, confidence, scores)
        if scores is not None and scores.dtype != np.uint8:
            scores = np.rint(np.asarray(scores, np.float32) * 255).astype(np.uint8)
        self.items.put(Item(frame, mask, dict(confidence), scores if self.wants_scores else None))
        self.frames += 1

    def check(
        self,
        frame: Frame,
        mask: np.ndarray,
        confidence: dict[int, ObjectConfidence],
        scores: np.ndarray | None,
    ) -> None:
        """Refuse in the caller's thread, with the caller's line in the traceback, what no file could hold."""
        if self.closed:
            raise RuntimeError(f"the writer of {self.video} is closed")
        if mask.shape != self.size or mask.dtype != np.uint8:
            raise ValueError(f"mask must be uint8 {self.size}, got {mask.dtype} {mask.shape}")
        if frame.image.shape != (*self.size, 3) or frame.image.dtype != np.uint8:
            raise ValueError(
                f"the image of frame {frame.name} must be uint8 {(*self.size, 3)}, "
                f"got {frame.image.dtype} {frame.image.shape}"
            )
        if not self.wants_scores:
            return
        expected = (len(confidence) + 1, *self.size)
        if scores is None or scores.shape != expected:
            found = None if scores is None else scores.shape
            raise ValueError(f"output.scores needs scores of shape {expected} (background first), got {found}")

    def run(self) -> None:
        """The thread: write until told to stop; after an error or abort only empty the queue."""
        while (item := self.items.get()) is not None:
            if self.error is not None or self.cancelled.is_set():
                continue
            try:
                for sink in self.sinks:
                    with named(sink):
                        sink.write(item)
            except BaseException as error:  # nobody else would see it
                self.error = error

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
            for sink in self.sinks:
                with named(sink):
                    sink.finish()
            for sink in self.sinks:
                with named(sink):
                    sink.staged.publish()
        except BaseException:
            self.abort()
            raise

    def abort(self) -> None:
        """Stop after the frame being written and remove everything unfinished."""
        self.cancelled.set()
        self.stop()
        for sink in self.sinks:
            sink.discard()

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


@contextmanager
def named(sink: Sink) -> Iterator[None]:
    """Turn the disk's refusals into the message that names the output."""
    try:
        yield
    except OSError as error:
        raise disk_fault(error, sink.staged.final) from error
