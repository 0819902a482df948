"""What the page's actions do: each is checked, is on disk when it is answered, and is told to every tab."""

import hashlib
import logging
import threading
from collections.abc import Callable, Generator, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import UsageError
from ..io.frames import FrameSource
from ..io.masks import read_mask
from ..io.palette import visible_colours
from ..types import LabelMask
from . import requests
from .label_files import REFERENCE, FrameEntry
from .pictures import Pictures
from .project import Document, Project
from .worker import Publish, Worker

log = logging.getLogger(__name__)


class Session:
    """One video and its project, for any number of tabs and threads.

    Attributes:
        project: Its folder.
        pictures: Its frames.
        worker: The network's thread.
        publish: Tells an event to every tab.
    """

    def __init__(self, source: FrameSource, project: Project, worker: Worker, publish: Publish, max_pixels: int):
        self.source, self.project, self.worker, self.publish = source, project, worker, publish
        self.pictures = Pictures(source)
        self.max_pixels = max_pixels
        self.frame_count = source.count or 0
        self.key = _key(source, project)
        self.lock = threading.RLock()  # around the project
        self.editing = threading.RLock()  # one edit at a time; taken before the other one, never by the worker

    def state(self, whole: bool = True) -> dict[str, Any]:
        """What the page shows; the frames' entries where it is to be `whole`."""
        with self.lock:
            document, size = self.project.document, self.source.size
            segmenter = self.worker.segmenter
            state = {
                "video": {
                    "name": self.source.name,
                    "width": size[1],
                    "height": size[0],
                    "frames": self.frame_count,
                    "fps": self.source.fps,
                },
                **document.as_json(),
                "running": self.worker.running,
                "undo": self.project.can_undo,
                "redo": self.project.can_redo,
                "ways": list(requests.WAYS),
                "exports": [],
                "project": str(self.project.folder),
                "key": self.key,
                "loading": segmenter is None and self.worker.fault is None,
                "fault": self.worker.fault,
                "device": None if segmenter is None else str(segmenter.prepared.device),
            }
            if whole:
                state["frames"] = {str(index): entry.as_json() for index, entry in sorted(self.project.frames.items())}
            return state

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
        name, values = requests.read_action(action)
        return getattr(self, name)(**values)

    def edit(self, change: Callable[[Document], Document]) -> None:
        """A step that changes objects, absences or references only."""
        with self.editing:
            self.worker.stop()
            with self.lock, self.project.change() as step:
                step.document = change(self.project.document)
            self.tell_state()

    def mask(self, index: int) -> tuple[int, bytes] | None:
        """Version and PNG of a frame's mask."""
        with self.lock:
            entry = self.project.frames.get(index)
            return None if entry is None else (entry.version, self.project.mask_path(index).read_bytes())

    def paint(self, index: int, ids: np.ndarray) -> FrameEntry:
        """Take (H, W) uint8 object ids as the mask of a frame: a reference from now on. Unknown ids become objects."""
        self._check_index(index)
        with self.editing:
            self.worker.stop()
            with self.lock, self.project.change() as step:
                step.document = _with_objects(self.project.document, np.unique(ids).tolist())
                _give(step, index, ids)
            entry = self.project.frames[index]
            self.tell_state()
            return entry

    def adopt(self, masks: Iterable[tuple[int, Path]]) -> None:
        """Take mask files as references, each with the index of its frame, as one step."""
        with self.project.change() as step:
            for index, path in masks:
                mask = read_mask(path, self.max_pixels)
                step.document = _with_objects(step.document, mask.object_ids(), mask.palette)
                _give(step, index, mask.ids)

    def add_object(self, name: str | None = None, colour: str | None = None) -> int:
        """Returns the id of the new object."""
        free = next((one for one in range(1, 256) if one not in self.project.document.objects), None)
        if free is None:
            raise UsageError("there are 255 objects, more are not possible")

        def change(document: Document) -> Document:
            named = {"name": name or f"object {free}", "colour": colour or _colour(free)}
            return replace(document, objects={**document.objects, free: named})

        self.edit(change)
        return free

    def propagate(self, index: int, direction: str, first: int | None = None, last: int | None = None) -> None:
        """Propagate from the references, in the background."""
        first, last = first or 0, self.frame_count - 1 if last is None else last
        for one in (index, first, last):
            self._check_index(one)
        if first > last:
            raise UsageError(f"there is no frame between {first} and {last}")
        with self.editing:
            self.worker.stop()
            with self.lock:
                references = self._references()
                if not references:
                    raise UsageError("no frame has a mask of yours yet: paint one first")
                step = self.project.begin()
            starts = [one for one in references if one <= index] or list(references)
            total = last - starts[-1] + 1

            def put(result: Any) -> None:
                given = result.frame.index in references
                with self.lock:
                    if not given:
                        step.put_mask(result.frame.index, result.mask, result.confidence)
                    self._tell_mask(result.frame.index)

            def results(segmenter: Any) -> Generator[Any, None, None]:
                state = segmenter.start()
                for frame in self.source:
                    if frame.index < starts[-1]:
                        continue
                    if frame.index > last:
                        return
                    given = references.get(frame.index)
                    with segmenter.running(frame.name):
                        prediction = segmenter.predict(state, frame, given, given is not None)
                        result = segmenter.result(frame, [prediction], given)
                    yield result

            self.worker.run(total, results, put, self.tell_state)
        self.tell_state()

    def stop(self) -> None:
        """End the propagation under way."""
        self.worker.stop()

    def undo(self) -> None:
        self._move(self.project.undo, "undo")

    def redo(self) -> None:
        self._move(self.project.redo, "redo")

    def close(self) -> None:
        """Stop; what is left to write is written."""
        with self.editing:
            self.worker.close()
            with self.lock:
                self.project.write_table()

    def _move(self, move: Callable[[], bool], what: str) -> None:
        with self.editing:
            self.worker.stop()
            with self.lock:
                moved = move()
            if not moved:
                raise UsageError(f"there is nothing to {what}")
            self.tell_state()

    def _references(self) -> dict[int, LabelMask]:
        paths = {index: self.project.reference_path(index) for index in self.project.document.references}
        return {index: read_mask(path, self.max_pixels) for index, path in paths.items()}

    def _tell_mask(self, index: int) -> None:
        self.project.changed.discard(index)
        self.publish({"event": "mask", "index": index, **self.project.frames[index].as_json()})

    def _check_index(self, index: int) -> None:
        if not 0 <= index < self.frame_count:
            raise UsageError(f"there is no frame {index}: the video has {self.frame_count}, the first is 0")


def _give(step: Any, index: int, ids: np.ndarray) -> None:
    step.put_reference(index, ids)
    step.put_mask(index, ids, {}, REFERENCE)


def _with_objects(document: Document, ids: list[int], palette: bytes | None = None) -> Document:
    """The document with those of these ids that it does not know; colours from the palette of their mask."""
    colours = visible_colours(palette)
    unknown = [one for one in ids if one and one not in document.objects]
    new = {one: {"name": f"object {one}", "colour": _hex(colours[one])} for one in unknown}
    return replace(document, objects={**document.objects, **new}) if new else document


def _key(source: FrameSource, project: Project) -> str:
    """Tells pictures of this video from those of another that the same address showed before."""
    stat = Path(project.video).stat()
    said = f"{project.video}\0{stat.st_mtime_ns}\0{stat.st_size}\0{source.size}"
    return hashlib.sha256(said.encode()).hexdigest()[:12]


def _colour(object_id: int) -> str:
    return _hex(visible_colours(None)[object_id])


def _hex(colour: np.ndarray) -> str:
    return "#" + bytes(colour.tolist()).hex()
