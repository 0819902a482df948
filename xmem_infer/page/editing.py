"""What edits do to a project: each is one step that can be undone, and is told to every tab."""

import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np

from ..errors import UsageError
from ..io.masks import read_mask
from ..io.palette import visible_colours
from ..scoring.pairing import read_ids
from .document import hex_colour, with_absence, with_objects, with_shown
from .label_files import REFERENCE, FrameEntry
from .project import Project
from .steps import Step
from .worker import Worker


class Editing(ABC):
    """The edits of a session; any of them ends the propagation under way. For any number of threads."""

    def __init__(self, project: Project, worker: Worker, frame_count: int, max_pixels: int) -> None:
        self.project, self.worker, self.frame_count, self.max_pixels = project, worker, frame_count, max_pixels
        self.lock = threading.RLock()  # around the project
        self.editing = threading.RLock()  # one edit at a time; taken before the other one, never by the worker

    @abstractmethod
    def changed(self) -> None:
        """The project was changed: tell every tab."""

    def paint(self, index: int, ids: np.ndarray, painted: Collection[int] = ()) -> FrameEntry:
        """Take (H, W) uint8 object ids as the mask of a frame: a reference from now on. Unknown ids become objects.

        painted: objects that the mask speaks of also where it does not show them: then they are absent in this frame.
        """
        self.check_index(index)
        shown = [one for one in np.unique(ids).tolist() if one]

        def change(step: Step) -> None:
            document = with_objects(step.document, shown)
            step.document = with_shown(document, index, shown, painted)
            _give(step, index, ids)

        self._edit(change)
        return self.project.frames[index]

    def adopt(self, masks: Iterable[tuple[int, Path]]) -> None:
        """Take mask files as references, each with the index of its frame, as one step."""

        def change(step: Step) -> None:
            for index, path in masks:
                mask = read_mask(path, self.max_pixels)
                step.document = with_objects(step.document, mask.object_ids(), mask.palette)
                _give(step, index, mask.ids)
            known = {one for entry in self.project.frames.values() for one in entry.confidence}
            step.document = with_objects(step.document, sorted(known))

        self._edit(change)

    def add_object(self, name: str | None = None, colour: str | None = None) -> int:
        """Returns the id of the new object."""
        with self.editing:
            free = next((one for one in range(1, 256) if one not in self.project.document.objects), None)
            if free is None:
                raise UsageError("there are 255 objects, more are not possible")
            shown = colour or hex_colour(visible_colours(None)[free])
            self._change_object(free, {"name": name or f"object {free}", "colour": shown})
            return free

    def rename_object(self, object_id: int, name: str) -> None:
        self._check_object(object_id)
        self._change_object(object_id, {"name": name})

    def recolour_object(self, object_id: int, colour: str) -> None:
        self._check_object(object_id)
        self._change_object(object_id, {"colour": colour})

    def remove_object(self, object_id: int) -> None:
        """Take an object out of all masks and references; its id is free for another one."""
        self._check_object(object_id)

        def change(step: Step) -> None:
            self._erase(step, object_id, 0, self.frame_count - 1)
            document = with_absence(step.document, object_id, 0, self.frame_count - 1, False)
            left = {one: named for one, named in document.objects.items() if one != object_id}
            step.document = replace(document, objects=left)

        self._edit(change)

    def set_absent(self, object_id: int, first: int, last: int, absent: bool) -> None:
        """Say that an object is not there in the frames `first` to `last`, or take that back."""
        self._check_object(object_id)
        self._check_range(first, last)

        def change(step: Step) -> None:
            if absent:
                self._erase(step, object_id, first, last)
            step.document = with_absence(step.document, object_id, first, last, absent)

        self._edit(change)

    def remove_reference(self, index: int) -> None:
        """The frame is no reference any more."""
        if index not in self.project.document.references:
            raise UsageError(f"frame {index} is no reference")

        def change(step: Step) -> None:
            step.put_reference(index, None)
            ids, entry = read_ids(self.project.mask_path(index)), self.project.frames[index]
            step.put_mask(index, ids, entry.confidence)

        self._edit(change)

    def undo(self) -> None:
        self._move(self.project.undo, "undo")

    def redo(self) -> None:
        self._move(self.project.redo, "redo")

    def _edit(self, change: Callable[[Step], None]) -> None:
        with self.editing:
            self.worker.stop()
            with self.lock, self.project.change() as step:
                change(step)
            self.changed()

    def _erase(self, step: Step, object_id: int, first: int, last: int) -> None:
        """Take an object out of the masks and references of the frames `first` to `last`, and out of what is known."""
        for index, entry in sorted(self.project.frames.items()):
            if first <= index <= last:
                ids = read_ids(self.project.mask_path(index))
                if object_id in entry.confidence or (ids == object_id).any():
                    others = {one: seen for one, seen in entry.confidence.items() if one != object_id}
                    step.put_mask(index, ids * (ids != object_id), others, entry.origin)
        for index in self.project.document.references:
            if first <= index <= last:
                ids = read_ids(self.project.reference_path(index))
                if (ids == object_id).any():
                    step.put_reference(index, ids * (ids != object_id))

    def _change_object(self, object_id: int, named: dict[str, str]) -> None:
        def change(step: Step) -> None:
            objects = step.document.objects
            new = {**objects.get(object_id, {}), **named}
            step.document = replace(step.document, objects={**objects, object_id: new})

        self._edit(change)

    def _move(self, move: Callable[[], bool], what: str) -> None:
        with self.editing:
            self.worker.stop()
            with self.lock:
                moved = move()
            if not moved:
                raise UsageError(f"there is nothing to {what}")
            self.changed()

    def check_index(self, index: int) -> None:
        """Raise UsageError where there is no such frame."""
        if not 0 <= index < self.frame_count:
            raise UsageError(f"there is no frame {index}: the video has {self.frame_count}, the first is 0")

    def _check_range(self, first: int, last: int) -> None:
        self.check_index(first)
        self.check_index(last)
        if first > last:
            raise UsageError(f"there is no frame between {first} and {last}")

    def _check_object(self, object_id: int) -> None:
        if object_id not in self.project.document.objects:
            raise UsageError(f"there is no object {object_id}")


def _give(step: Step, index: int, ids: np.ndarray) -> None:
    step.put_reference(index, ids)
    step.put_mask(index, ids, {}, REFERENCE)
