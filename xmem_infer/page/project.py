"""A project: masks, references and what is said of them, in a folder that is sound whenever the server dies.

    project.json            objects, absences, references, the number of the last step
    masks/<video>/          palette PNG for each frame that has a mask, as a run of eval.py writes them
    references/             those that the user gave
    confidence/<video>.csv  as a run writes it
    history/<n>/            step n: step.json (objects, absences and references before it and after it), and each file
                            that it changed as it was (before/) and as it is (after/); an empty file stands for none

project.json says which step counts. A file that step n touched is as after/ has it, and one that step n + 1 touched as
before/ has it: opening a project makes that true, whatever moment it was killed at.
"""

import csv
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from ..errors import UsageError
from ..io.atomic import Staged, disk_fault, remove, write_json, write_whole
from ..io.frames import IndexedFrames, frame_name
from ..outputs.files import ConfidenceTable, confidence_row, read_confidence
from .document import Document
from .label_files import PROPAGATED, REFERENCE, FrameEntry, read_entry, version_of
from .steps import Step, link

FORMAT = 1
MAX_STEPS = 200  # that can be undone


class Project:
    """One project folder, held by this process; not for several threads at once.

    Attributes:
        document: Objects, references, absences.
        frames: What is known of each frame that has a mask, by index.
        changed: Indices of the frames whose masks changed since somebody emptied it.
        is_new: Whether nothing was ever done in it.
    """

    def __init__(self, folder: Path, source: IndexedFrames, video: Path) -> None:
        """Open or make it. Raises UsageError (a project of another video), EnvironmentFault (the disk)."""
        self.folder, self.source, self.name = folder, source, source.name
        self.masks, self.references = folder / "masks" / source.name, folder / "references"
        self.history = folder / "history"
        self.video = str(video.absolute())
        self.document, self.step, self.changed = Document(), 0, set[int]()
        self.frames: dict[int, FrameEntry] = {}
        self._index_of = {stem: index for index, stem in enumerate(source.stems or [])}
        self._table_is_old = False
        self._listed: dict[int, FrameEntry] = {}  # of masks that do not say themselves what is known of them
        for path in (self.masks, self.references, self.history):
            path.mkdir(parents=True, exist_ok=True)
        if (folder / "project.json").is_file():
            self._read()
        if self.is_new:
            self._point(0, self.document)
        self._list_frames()
        self._settle()

    @property
    def is_new(self) -> bool:
        return self.step == 0 and not self.can_redo

    @property
    def can_undo(self) -> bool:
        return (self.history / str(self.step)).is_dir()

    @property
    def can_redo(self) -> bool:
        return (self.history / str(self.step + 1)).is_dir()

    def mask_path(self, index: int) -> Path:
        """Where the mask of a frame lies, whether there is one or not."""
        return self.masks / f"{frame_name(self.source, index)}.png"

    def reference_path(self, index: int) -> Path:
        """Where the mask that the user gave for a frame lies."""
        return self.references / f"{frame_name(self.source, index)}.png"

    @contextmanager
    def change(self) -> Iterator[Step]:
        """A step that can be undone; it counts once the block is left without an error, and then is on disk."""
        step = Step(self, self.history / ".new", self.document)
        remove(step.folder)
        try:
            yield step
            self._commit(step)
        except OSError as error:
            raise disk_fault(error, self.folder) from error
        finally:
            with suppress(OSError):
                remove(step.folder)

    def begin(self) -> Step:
        """A step that counts at once and goes on: each mask that is put into it is on disk when `put` returns."""
        with self.change() as step:
            pass
        step.folder = self.history / str(self.step)
        step.is_open = True
        return step

    def undo(self) -> bool:
        """Take the last step back; False where there is none."""
        return self._move(-1, "before")

    def redo(self) -> bool:
        """Take a step forward that was taken back."""
        return self._move(1, "after")

    def write_table(self) -> None:
        """Bring confidence/<video>.csv up to date."""
        if self._table_is_old:
            write_whole(self.folder / "confidence" / f"{self.name}.csv", self._write_rows)
            self._table_is_old = False

    def apply(self, rel: str, content: Path) -> None:
        """Put a file of a step in place: a link to it, or nothing where it is empty."""
        final = self.folder / rel
        if content.stat().st_size == 0:
            final.unlink(missing_ok=True)
        elif not (final.exists() and final.samefile(content)):
            link(content, final)
        if rel.startswith("masks/") and (index := self._index(final.stem)) is not None:
            self.changed.add(index)
            self._table_is_old = True
            if final.exists():
                self.frames[index] = read_entry(final) or self._listed.get(index) or FrameEntry(version_of(final))
            else:
                self.frames.pop(index, None)

    def _read(self) -> None:
        path = self.folder / "project.json"
        try:
            said = json.loads(path.read_text(encoding="utf-8"))
            self.document, self.step = Document.from_json(said), said["step"]
            video, form = said["video"], said["format"]
            count, size = video["frames"], tuple(video["size"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise UsageError(f"{path} cannot be read as a project: {error!r}") from error
        if form != FORMAT:
            raise UsageError(f"{path} is of format {form}, this version writes {FORMAT}: it was made by a later one")
        if not self.is_new and (size != self.source.size or count != len(self.source)):
            raise UsageError(
                f"{self.folder} is the project of {video['path']} ({count} frames of {size[1]}x{size[0]}), and "
                f"{self.video} is another video: give another project=FOLDER"
            )

    def _commit(self, step: "Step") -> None:
        self.write_table()
        number = self.step + 1
        step.folder.mkdir(exist_ok=True)
        said = {"before": self.document.as_json(), "after": step.document.as_json()}
        write_json(step.folder / "step.json", said)
        for later in sorted(self._steps(), reverse=True):
            if later >= number or later <= number - MAX_STEPS:
                Staged(self.history / str(later)).withdraw()
        step.folder.rename(self.history / str(number))
        self._point(number, step.document)
        self._apply_all(number, "after")

    def _move(self, by: int, side: str) -> bool:
        number = self.step if by < 0 else self.step + 1
        folder = self.history / str(number)
        if not folder.is_dir():
            return False
        try:
            self.write_table()
            said = json.loads((folder / "step.json").read_text(encoding="utf-8"))
            self._point(self.step + by, Document.from_json(said[side]))
            self._apply_all(number, side)
        except OSError as error:
            raise disk_fault(error, self.folder) from error
        return True

    def _point(self, step: int, document: Document) -> None:
        video = {"path": self.video, "frames": len(self.source), "size": self.source.size}
        said = {"format": FORMAT, "video": video, "step": step, **document.as_json()}
        write_json(self.folder / "project.json", said)
        self.step, self.document = step, document

    def _settle(self) -> None:
        """What the last process did not come to do."""
        for path in self.history.iterdir():
            if not path.name.isdecimal():  # a step that was begun, or that was being dropped
                remove(path)
        if self.can_undo:
            self._apply_all(self.step, "after")
        if self.can_redo:
            self._apply_all(self.step + 1, "before")

    def _apply_all(self, number: int, side: str) -> None:
        folder = self.history / str(number)
        for changed in sorted((folder / "after").rglob("*.png")):  # `before` alone: killed before it was changed
            rel = changed.relative_to(folder / "after").as_posix()
            self.apply(rel, folder / side / rel)

    def _steps(self) -> list[int]:
        return [int(path.name) for path in self.history.iterdir() if path.name.isdecimal()]

    def _index(self, stem: str) -> int | None:
        if self._index_of:
            return self._index_of.get(stem)
        return int(stem) if stem.isdecimal() else None

    def _list_frames(self) -> None:
        """From the table; the files that the last step touched are read once more by `_settle`."""
        table = self.folder / "confidence" / f"{self.name}.csv"
        said = read_confidence(table) if table.is_file() else {}
        for entry in os.scandir(self.masks):
            stem, suffix = os.path.splitext(entry.name)
            if suffix == ".png" and not entry.name.startswith(".") and (index := self._index(stem)) is not None:
                origin = REFERENCE if index in self.document.references else PROPAGATED
                version = entry.stat().st_mtime_ns // 1000
                self.frames[index] = FrameEntry(version, origin, said.get(stem, {}))
        self._listed = dict(self.frames)

    def _write_rows(self, to: Path) -> None:
        with open(to, "w", newline="", encoding="utf-8", errors="surrogateescape") as file:
            table = csv.writer(file)
            table.writerow(ConfidenceTable.HEADER)
            for index, entry in sorted(self.frames.items()):
                name = frame_name(self.source, index)
                table.writerows(confidence_row(name, one, seen) for one, seen in sorted(entry.confidence.items()))
