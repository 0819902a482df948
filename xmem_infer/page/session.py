"""The actions of the page. Each is validated, on disk before it is acknowledged, and reported to all tabs."""

import hashlib
import logging
from collections.abc import Generator
from functools import cached_property
from typing import Any

import numpy as np

from ..errors import UsageError
from ..interactive.box_and_clicks import propose
from ..interactive.random_walk import walker
from ..io.frames import IndexedFrames
from ..io.masks import read_mask
from ..outputs.protocol import FALLBACK_FPS
from ..scoring.pairing import read_ids
from ..types import LabelMask
from .editing import Editing
from .exports import Exports
from .label_files import PROPAGATED, REFERENCE
from .pictures import Pictures
from .project import Project
from .steps import Step
from .worker import Publish, Worker

log = logging.getLogger(__name__)


class Session(Editing):
    """Thread-safe session of one video and its project, shared by all tabs.

    The video is opened twice: `frames` is read by the network's thread, `shown` for display.
    """

    def __init__(
        self,
        frames: IndexedFrames,
        shown: IndexedFrames,
        project: Project,
        worker: Worker,
        publish: Publish,
        max_pixels: int,
        fps: float | None = None,
    ):
        super().__init__(project, worker, len(shown), max_pixels)
        self.frames, self.publish = frames, publish
        self.pictures = Pictures(shown)
        self.fps = frames.fps or fps or FALLBACK_FPS
        self.exports = Exports(project, frames, publish, self.fps)
        self.key = _key(frames, project)

    def state(self, whole: bool = True) -> dict[str, Any]:
        """Return the state that the page shows. whole: with the metadata of all frames."""
        with self.lock:
            height, width = self.frames.size
            video = {"name": self.project.video.name, "width": width, "height": height}
            state = {
                "video": {**video, "frames": self.frame_count, "fps": self.fps},
                **self.project.document.as_json(),
                "running": self.worker.running,
                "undo": self.project.can_undo,
                "redo": self.project.can_redo,
                "exports": self.exports.formats(),
                "loading": self.worker.segmenter is None and self.worker.fault is None,
                "fault": self.worker.fault,
            }
            if whole:
                state["frames"] = {str(index): entry.as_json() for index, entry in sorted(self.project.frames.items())}
            return state

    def on_change(self) -> None:
        """Publish the state, and encode the references in idle time, so that the next propagation starts sooner."""
        self.publish_state()
        if self.project.document.references:
            self.worker.run_when_idle(self._encode_references)

    def publish_state(self) -> None:
        """Send the state, and the metadata of the frames that have changed, to all tabs."""
        with self.lock:
            entries = {index: self.project.frames.get(index) for index in sorted(self.project.changed)}
            frames = {str(index): entry.as_json() if entry else None for index, entry in entries.items()}
            self.project.changed.clear()
            self.publish({"event": "state", "state": self.state(whole=False), "frames": frames})

    def mask(self, index: int) -> tuple[int, bytes] | None:
        """Return the version and the PNG file of a frame's mask, or None if the frame has no mask."""
        with self.lock:
            entry = self.project.frames.get(index)
            return None if entry is None else (entry.version, self.project.mask_path(index).read_bytes())

    def next_to_fix(self) -> dict[str, Any]:
        """Return index and reason of the frame to correct next. Raises UsageError if there is none."""
        from ..interactive.suggestion import next_to_fix

        with self.lock:
            document = self.project.document
            confidence = {index: entry.confidence for index, entry in self.project.frames.items()}
            suggestion = next_to_fix(confidence, document.references)
        if suggestion is None:
            raise UsageError("no frame has a propagated mask that could be corrected")
        return {"index": suggestion.index, "reason": suggestion.reason}

    def suggest(
        self,
        index: int,
        object_id: int,
        box: tuple[float, float, float, float] | None = None,
        clicks: list[tuple[float, float, int]] | None = None,
        base: bool = False,
    ) -> np.ndarray:
        """Return a mask of an object, (H, W) bool, from a box and clicks, without storing it. See `propose`.

        base: correct the stored mask of the object, if there is one, instead of segmenting anew.
        """
        self.check_index(index)
        with self.lock:
            has_base = base and index in self.project.frames
            mask = read_ids(self.project.mask_path(index)) == object_id if has_base else None
        stored = mask if mask is not None and mask.any() else None
        return propose(walker, self.pictures.frame(index).image, stored, box, clicks or [])

    def propagate(self, index: int, direction: str, first: int | None = None, last: int | None = None) -> None:
        """Propagate from the references in the background, replacing a running propagation.

        Args:
            index: Frame shown when the user asked: the default of `first` for `forward` and of `last` for `backward`.
            direction: `forward`, `backward` or `both`.
            first: First frame to segment; None: frame 0, or `index` for `forward`.
            last: Last frame to segment; None: the last frame of the video, or `index` for `backward`.

        Raises:
            UsageError: There is no such frame or range of frames, or no reference.
        """
        begin = (0 if direction != "forward" else index) if first is None else first
        end = (self.frame_count - 1 if direction != "backward" else index) if last is None else last
        self.check_index(index)
        self._check_range(begin, end)
        with self.edit_lock:
            self.worker.stop()
            with self.lock:
                references, absent = self._references(), self.project.document.absent
                if not references:
                    raise UsageError("no frame has a mask of yours yet: paint one first")
            low, high = min(references), max(references)
            total = max(0, end - begin + 1)
            if direction == "both":
                total += max(0, min(end, high) - max(begin, low) - 1)  # yielded twice, see `provisional`

            def results(segmenter: Any) -> Generator[Any, None, None]:
                from ..propagation.propagate import propagate

                return propagate(
                    segmenter,
                    self.frames,
                    references,
                    direction=direction,
                    first=begin,
                    last=end,
                    absent=absent,
                    provisional=True,
                    encoded=self._encoded,
                )

            steps: list[Step] = []
            self.worker.run(total, results, lambda result: self._store(steps, result), self.publish_state)
            self.publish_state()

    def stop(self) -> None:
        """Stop the running propagation, if there is one."""
        self.worker.stop()

    def close(self) -> None:
        """Stop the worker and the exports, and write the confidence table."""
        with self.edit_lock:
            self.worker.close()
            self.exports.close()
            with self.lock:
                self.project.write_table()

    def _store(self, steps: list[Step], result: Any) -> None:
        """Store a mask and publish it.

        steps: holds the undo step of this propagation. It is opened only with the first mask, because opening a step
        discards the steps that could be redone.
        """
        from ..engine.state import absent_ids

        index, document = result.frame.index, self.project.document
        with self.lock:
            if not result.given:
                if not steps:
                    steps.append(self.project.open_step())
                absent = absent_ids(document.absent, index)
                confidence = {key: seen for key, seen in result.confidence.items() if key not in absent}
                origin = REFERENCE if index in document.references else PROPAGATED
                steps[0].put_mask(index, result.mask, confidence, origin)
            self.project.changed.discard(index)
            self.publish({"event": "mask", "index": index, **self.project.frames[index].as_json()})

    def _encode_references(self, segmenter: Any) -> Any:
        from ..propagation.propagate import encode_ahead

        with self.lock:
            references, absent = self._references(), self.project.document.absent
        return encode_ahead(segmenter, self.frames, references, absent, self._encoded)

    @cached_property
    def _encoded(self) -> Any:
        """Encoded references, to be used in the network's thread only."""
        from ..propagation.encoded_references import EncodedReferences

        return EncodedReferences()

    def _references(self) -> dict[int, LabelMask]:
        paths = {index: self.project.reference_path(index) for index in self.project.document.references}
        return {index: read_mask(path, self.max_pixels) for index, path in paths.items()}


def _key(frames: IndexedFrames, project: Project) -> str:
    """Return a cache key, so that browsers do not show cached frames of another video served on the same address."""
    stat = project.video.stat()
    identity = f"{project.video}\0{stat.st_mtime_ns}\0{stat.st_size}\0{frames.size}"
    return hashlib.sha256(identity.encode()).hexdigest()[:12]
