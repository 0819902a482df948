"""The edits of a project. Each is one undo step, and is reported to all tabs."""

import threading
from abc import ABC, abstractmethod
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np

from ..config import DataConfig
from ..errors import UsageError
from ..io.masks import read_mask
from ..scoring.pairing import read_ids
from .document import with_absence, with_objects, with_shown
from .label_files import FrameEntry
from .project import Project
from .steps import Step
from .worker import Worker


class Editing(ABC):
    """Thread-safe edits of a project. Each edit stops the running propagation first."""

    def __init__(self, project: Project, worker: Worker) -> None:
        self.project, self.worker, self.frame_count = project, worker, len(project.source)
        self.lock = threading.RLock()  # guards the project
        self.edit_lock = threading.RLock()  # one edit at a time; acquired before `lock`, never by the worker's thread

    @abstractmethod
    def on_change(self) -> None:
        """Called after each edit."""

    def paint(self, index: int, ids: np.ndarray, painted: Collection[int] = ()) -> FrameEntry:
        """Set the mask of a frame, which becomes a reference. Ids that are not objects yet are added as objects.

        Args:
            index: Index of the frame.
            ids: (H, W) uint8 object ids.
            painted: Ids of the objects that were painted. Those that the mask does not show are absent on this frame.
        """
        self.check_index(index)
        shown = [object_id for object_id in np.unique(ids).tolist() if object_id]
        with self._edit() as step:
            step.document = with_shown(with_objects(step.document, shown), index, shown, painted)
            _set_reference(step, index, ids)
        return self.project.frames[index]

    def adopt(self, masks: Iterable[tuple[int, Path]]) -> None:
        """Turn mask files, given with the indices of their frames, into references, as one undo step."""
        with self._edit() as step:
            for index, path in masks:
                mask = read_mask(path, DataConfig.max_pixels)
                step.document = with_objects(step.document, mask.object_ids(), mask.palette)
                _set_reference(step, index, mask.ids)
            known = {object_id for entry in self.project.frames.values() for object_id in entry.confidence}
            step.document = with_objects(step.document, sorted(known))

    def add_object(self, name: str | None = None, colour: str | None = None) -> int:
        """Add an object and return its id, the smallest free one."""
        with self.edit_lock:
            free = next((number for number in range(1, 256) if number not in self.project.document.objects), None)
            if free is None:
                raise UsageError("there are 255 objects, more are not possible")
            with self._edit() as step:
                step.document = with_objects(step.document, [free]).changed(free, name, colour)
            return free

    def change_object(self, object_id: int, name: str | None = None, colour: str | None = None) -> None:
        """Change the name or the colour of an object."""
        self._check_object(object_id)
        with self._edit() as step:
            step.document = step.document.changed(object_id, name, colour)

    def remove_object(self, object_id: int) -> None:
        """Remove an object, also from all masks and references. Its id may be used for another object later."""
        self._check_object(object_id)
        with self._edit() as step:
            self._erase(step, object_id, 0, self.frame_count - 1)
            document = with_absence(step.document, object_id, 0, self.frame_count - 1, False)
            objects = {key: described for key, described in document.objects.items() if key != object_id}
            step.document = replace(document, objects=objects)

    def set_absent(self, object_id: int, first: int, last: int, absent: bool) -> None:
        """Mark an object as absent, or as present again, in the frames `first` to `last` (inclusive)."""
        self._check_object(object_id)
        self._check_range(first, last)
        with self._edit() as step:
            if absent:
                self._erase(step, object_id, first, last)
            step.document = with_absence(step.document, object_id, first, last, absent)

    def remove_reference(self, index: int) -> None:
        """Turn a reference into an ordinary frame; its mask stays."""
        if index not in self.project.document.references:
            raise UsageError(f"frame {index} is no reference")
        with self._edit() as step:
            step.put_reference(index, None)

    def undo(self) -> None:
        with self._exclusive():
            if not self.project.undo():
                raise UsageError("there is nothing to undo")

    def redo(self) -> None:
        with self._exclusive():
            if not self.project.redo():
                raise UsageError("there is nothing to redo")

    @contextmanager
    def _exclusive(self) -> Iterator[None]:
        """Stop the running propagation, and report the change made in the block if it ends without an error."""
        with self.edit_lock:
            self.worker.stop()
            with self.lock:
                yield
            self.on_change()

    @contextmanager
    def _edit(self) -> Iterator[Step]:
        """Record the change made in the block as an undo step, see `_exclusive`."""
        with self._exclusive(), self.project.change() as step:
            yield step

    def _erase(self, step: Step, object_id: int, first: int, last: int) -> None:
        """Remove an object from masks, references and confidences of the frames `first` to `last` (inclusive)."""
        for index, entry in sorted(self.project.frames.items()):
            if first <= index <= last:
                ids = read_ids(self.project.mask_path(index))
                if object_id in entry.confidence or (ids == object_id).any():
                    others = {key: seen for key, seen in entry.confidence.items() if key != object_id}
                    step.put_mask(index, ids * (ids != object_id), others)
        for index in self.project.document.references:
            if first <= index <= last:
                ids = read_ids(self.project.reference_path(index))
                if (ids == object_id).any():
                    step.put_reference(index, ids * (ids != object_id))

    def check_index(self, index: int) -> None:
        """Raise UsageError if there is no such frame."""
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


def _set_reference(step: Step, index: int, ids: np.ndarray) -> None:
    step.put_reference(index, ids)
    step.put_mask(index, ids, {})
