"""The actions of the page. Each is validated, on disk before it is acknowledged, and reported to all tabs."""

from typing import Any

import numpy as np

from ..config import DataConfig
from ..errors import UsageError
from ..export.run import EXPORTERS
from ..interactive.box_and_clicks import Box, Click, propose
from ..interactive.random_walk import walker
from ..io.frames import IndexedFrames
from ..io.masks import read_mask
from ..outputs.protocol import FALLBACK_FPS
from .editing import Editing
from .exports import Exports
from .label_files import read_png
from .pictures import Pictures
from .project import Project
from .steps import Step
from .worker import Publish, Worker


class Session(Editing):
    """Thread-safe session of one video and its project, shared by all tabs.

    The video is opened twice: the frames of the project are read by the network's thread, `shown` is for display.
    """

    def __init__(self, project: Project, shown: IndexedFrames, publish: Publish, fps: float | None = None):
        super().__init__(project, Worker(publish))
        self.frames, self.publish, self.pictures = project.source, publish, Pictures(shown)
        self.fps = self.frames.fps or fps or FALLBACK_FPS
        self.exports = Exports(project, self.fps, publish)
        stat = project.video.stat()
        self.key = f"{stat.st_dev:x}-{stat.st_ino:x}-{stat.st_mtime_ns:x}"  # of the video, for the caches of browsers

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
                "exports": [{"format": name, "label": EXPORTERS[name].title} for name in EXPORTERS.names()],
                "loading": self.worker.segmenter is None and self.worker.fault is None,
                "fault": self.worker.fault,
            }
            if whole:
                state["frames"] = {index: entry.as_json() for index, entry in sorted(self.project.frames.items())}
            return state

    def on_change(self) -> None:
        """Publish the state, and encode the references in idle time, so that the next propagation starts sooner."""
        self.publish_state()
        if self.project.document.references:
            self.worker.encode_ahead(self._references)

    def publish_state(self) -> None:
        """Send the state, and the metadata of the frames that have changed, to all tabs."""
        with self.lock:
            entries = {index: self.project.frames.get(index) for index in sorted(self.project.changed)}
            frames = {index: entry.as_json() if entry else None for index, entry in entries.items()}
            self.project.changed.clear()
            self.publish({"event": "state", "state": self.state(whole=False), "frames": frames})

    def mask(self, index: int) -> tuple[int, bytes] | None:
        """Return the version and the PNG file of a frame's mask, or None if the frame has no mask."""
        with self.lock:
            entry = self.project.frames.get(index)
            return None if entry is None else (entry.version, self.project.mask_path(index).read_bytes())

    def goto(self, index: int) -> None:
        """Check the index of the frame that a tab has gone to; the other tabs follow."""
        self.check_index(index)

    def next_to_fix(self) -> dict[str, Any]:
        """Return index and reason of the frame to correct next. Raises UsageError if there is none."""
        from ..interactive.suggestion import next_to_fix  # imports torch

        with self.lock:
            confidence = {index: entry.confidence for index, entry in self.project.frames.items()}
            suggestion = next_to_fix(confidence, self.project.document.references)
        if suggestion is None:
            raise UsageError("no frame has a propagated mask that could be corrected")
        return {"index": suggestion.index, "reason": suggestion.reason}

    def suggest(
        self,
        index: int,
        object_id: int,
        box: Box | None = None,
        clicks: list[Click] | None = None,
        base: bool = False,
    ) -> np.ndarray:
        """Return a mask of an object, (H, W) bool, from a box and clicks, without storing it. See `propose`.

        base: correct the stored mask of the object, if there is one, instead of segmenting anew.
        """
        self.check_index(index)
        stored = self.mask(index) if base else None
        mask = None if stored is None else read_png(stored[1]) == object_id
        shown = mask if mask is not None and mask.any() else None
        return propose(walker, self.pictures.frame(index).image, shown, box, clicks or [])

    def propagate(self, direction: str, first: int, last: int) -> None:
        """Propagate from the references in the background, replacing a running propagation.

        Args:
            direction: `forward`, `backward` or `both`.
            first: First frame to segment.
            last: Last frame to segment.

        Raises:
            UsageError: There is no such range of frames, or no reference.
        """
        self._check_range(first, last)
        with self.edit_lock:
            self.worker.stop()
            request = self._references()
            references, document = request["references"], self.project.document
            if not references:
                raise UsageError("no frame has a mask of yours yet: paint one first")
            total = last - first + 1
            if direction == "both":  # frames between references are yielded twice, see `provisional` of `propagate`
                total += max(0, min(last, max(references)) - max(first, min(references)) - 1)
            step: Step | None = None

            def store(result: Any) -> None:
                nonlocal step
                index = result.frame.index
                with self.lock:
                    if not result.given:
                        # opened only with the first mask, because opening a step discards those that could be redone
                        step = step or self.project.open_step()
                        step.put_mask(index, result.mask, document.present(result.confidence, index))
                    self.project.changed.discard(index)
                    self.publish({"event": "mask", "index": index, **self.project.frames[index].as_json()})

            span = {"direction": direction, "first": first, "last": last}
            self.worker.propagate(total, store, self.publish_state, **request, **span)
            self.publish_state()

    def export(self, format: str, job: int) -> None:
        """Export the masks in the background; `job` is chosen by the tab, and is part of all events of this export."""
        self.exports.start(format, job)

    def stop(self) -> None:
        """Stop the running propagation, if there is one."""
        with self.edit_lock:  # so that none starts meanwhile
            self.worker.stop()

    def close(self) -> None:
        """Stop the worker and the exports, and write the confidence table."""
        with self.edit_lock:
            self.worker.close()
            self.exports.close()
            with self.lock:
                self.project.write_table()

    def _references(self) -> dict[str, Any]:
        """Return the arguments `frames`, `references` and `absent` of `propagate` and `encode_ahead`."""
        with self.lock:
            document = self.project.document
            paths = {index: self.project.reference_path(index) for index in document.references}
            references = {index: read_mask(path, DataConfig.max_pixels) for index, path in paths.items()}
            return {"frames": self.frames, "references": references, "absent": document.absent}
