"""What the page's actions do: each is checked, is on disk when it is answered, and is told to every tab."""

import hashlib
import logging
from collections.abc import Generator
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import UsageError
from ..interactive.box_and_clicks import propose, walker
from ..io.frames import IndexedFrames
from ..io.masks import read_mask
from ..outputs.protocol import FALLBACK_FPS
from ..scoring.pairing import read_ids
from ..types import LabelMask
from . import actions
from .editing import Editing
from .exports import Exports
from .label_files import REFERENCE
from .pictures import Pictures
from .project import Project
from .steps import Step
from .worker import Publish, Worker

log = logging.getLogger(__name__)


class Session(Editing):
    """One video and its project, for any number of tabs and threads.

    frames: the video, as the network's thread reads it; shown: the same, opened once more to be shown.
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
        """What the page shows; the frames' entries where it is to be `whole`."""
        with self.lock:
            height, width = self.frames.size
            video = {"name": Path(self.project.video).name, "width": width, "height": height}
            state = {
                "video": {**video, "frames": self.frame_count, "fps": self.fps},
                **self.project.document.as_json(),
                "running": self.worker.running,
                "undo": self.project.can_undo,
                "redo": self.project.can_redo,
                "exports": self.exports.formats(),
                "key": self.key,
                "loading": self.worker.segmenter is None and self.worker.fault is None,
                "fault": self.worker.fault,
            }
            if whole:
                state["frames"] = {str(index): entry.as_json() for index, entry in sorted(self.project.frames.items())}
            return state

    def changed(self) -> None:
        """Tell every tab, and encode the references while the user looks or paints: the next propagation is quicker."""
        self.tell_state()
        if self.project.document.references:
            self.worker.ahead(self._encode_references)

    def tell_state(self) -> None:
        """To every tab: the state, and the entries of the frames that changed."""
        with self.lock:
            known = self.project.frames
            frames = {str(one): known[one].as_json() if one in known else None for one in sorted(self.project.changed)}
            self.project.changed.clear()
            self.publish({"event": "state", "state": self.state(whole=False), "frames": frames})

    def act(self, action: object) -> Any:
        """Do what a tab asks for; returns the answer, if there is one.

        Raises:
            UsageError: The action is none, or not possible now.
            EnvironmentFault: The disk refuses.
        """
        name, values = actions.read_action(action)
        return getattr(self, name)(**values)

    def mask(self, index: int) -> tuple[int, bytes] | None:
        """Version and PNG of a frame's mask."""
        with self.lock:
            entry = self.project.frames.get(index)
            return None if entry is None else (entry.version, self.project.mask_path(index).read_bytes())

    def next_to_fix(self) -> dict[str, Any]:
        """Index of the frame whose mask is likely the worst, and why."""
        from ..interactive.suggestion import next_to_fix

        with self.lock:
            document = self.project.document
            confidence = {index: entry.confidence for index, entry in self.project.frames.items()}
            found = next_to_fix(confidence, document.references)
        if found is None:
            raise UsageError("no frame has a propagated mask that could be corrected")
        return {"index": found.index, "reason": found.reason}

    def suggest(
        self,
        index: int,
        object_id: int,
        box: tuple[float, float, float, float] | None = None,
        clicks: list[tuple[float, float, int]] | None = None,
        base: bool = False,
    ) -> np.ndarray:
        """(H, W) bool: a mask for the object by a box and clicks, anew or (base) from its mask so far."""
        self.check_index(index)
        with self.lock:
            has_base = base and index in self.project.frames
            mask = read_ids(self.project.mask_path(index)) == object_id if has_base else None
        so_far = mask if mask is not None and mask.any() else None
        return propose(walker, self.pictures.frame(index).image, so_far, box, clicks or [])

    def propagate(self, index: int, direction: str, first: int | None = None, last: int | None = None) -> None:
        """Propagate from the references, in the background; what is not said begins or ends at frame `index`."""
        begin, end = (0 if direction != "forward" else index) if first is None else first, last
        end = (self.frame_count - 1 if direction != "backward" else index) if last is None else last
        self.check_index(index)
        self._check_range(begin, end)
        with self.editing:
            self.worker.stop()
            with self.lock:
                references, absent = self._references(), self.project.document.absent
                if not references:
                    raise UsageError("no frame has a mask of yours yet: paint one first")
            low, high = min(references), max(references)
            total = max(0, end - begin + 1)
            if direction == "both":
                total += max(0, min(end, high) - max(begin, low) - 1)  # shown after the way back, and then both ways

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
            self.worker.run(total, results, lambda result: self._put(steps, result), self.tell_state)
            self.tell_state()

    def stop(self) -> None:
        """End the propagation under way."""
        self.worker.stop()

    def close(self) -> None:
        """Stop; what is left to write is written."""
        with self.editing:
            self.worker.close()
            self.exports.close()
            with self.lock:
                self.project.write_table()

    def _put(self, steps: list[Step], result: Any) -> None:
        """Store and tell a mask. steps: that of this propagation, begun with its first mask: without one it is none."""
        from ..engine.state import absent_ids

        index, document = result.frame.index, self.project.document
        with self.lock:
            if not result.given:
                if not steps:
                    steps.append(self.project.begin())
                gone = absent_ids(document.absent, index)
                seen = {one: it for one, it in result.confidence.items() if one not in gone}
                origin = (REFERENCE,) if index in document.references else ()
                steps[0].put_mask(index, result.mask, seen, *origin)
            self.project.changed.discard(index)
            self.publish({"event": "mask", "index": index, **self.project.frames[index].as_json()})

    def _encode_references(self, segmenter: Any) -> Any:
        from ..propagation.propagate import encode_ahead

        with self.lock:
            references, absent = self._references(), self.project.document.absent
        return encode_ahead(segmenter, self.frames, references, absent, self._encoded)

    @cached_property
    def _encoded(self) -> Any:
        """For the network's thread alone."""
        from ..propagation.encoded_references import EncodedReferences

        return EncodedReferences()

    def _references(self) -> dict[int, LabelMask]:
        paths = {index: self.project.reference_path(index) for index in self.project.document.references}
        return {index: read_mask(path, self.max_pixels) for index, path in paths.items()}


def _key(frames: IndexedFrames, project: Project) -> str:
    """Tells pictures of this video from those of another that the same address showed before."""
    stat = Path(project.video).stat()
    said = f"{project.video}\0{stat.st_mtime_ns}\0{stat.st_size}\0{frames.size}"
    return hashlib.sha256(said.encode()).hexdigest()[:12]
