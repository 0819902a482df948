"""A project folder, which stays consistent even if the server is killed at any moment.

    project.json            objects, absences, references, number n of the current step
    masks/<video>/          palette PNG of each frame that has a mask, in the format of eval.py
    references/             masks given by the user, in the same format
    confidence/<video>.csv  table in the format of eval.py
    history/<n>/            undo step n: step.json (objects, absences and references before and after the step), and
                            each changed file before/ and after/ the step; an empty file means that there was none

With n from project.json, files changed by step n must equal their copies in its after/, and files changed by step
n + 1 (undone) their copies in its before/. Opening a project restores this if the server was killed in between.
"""

import csv
import json
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from ..errors import UsageError
from ..io.atomic import Staged, disk_fault, remove, write_json, write_whole
from ..io.frames import IndexedFrames, frame_name
from ..io.images import size_words
from ..outputs.files import ConfidenceTable, confidence_row, read_confidence
from .document import Document
from .label_files import FrameEntry, read_entry, version_of
from .steps import Step, link

FORMAT = 1
MAX_STEPS = 200  # undo steps that are saved


class Project:
    """An open project folder. The caller must hold the lock of the folder, and use one thread at a time.

    Attributes:
        document: Objects, references and absences.
        step: Number of the current step, 0 before the first one.
        frames: Metadata of each frame that has a mask, by index.
        changed: Indices of frames whose masks have changed; cleared by its consumer.
        is_new: Whether there is no step yet, not even an undone one.
    """

    def __init__(self, folder: Path, source: IndexedFrames, video: Path) -> None:
        """Open a project, or create it.

        Raises:
            UsageError: project.json cannot be read, or belongs to another video or a later version.
            EnvironmentFault, OSError: The disk fails.
        """
        self.folder, self.source, self.name = folder, source, source.name
        self.masks, self.references = folder / "masks" / source.name, folder / "references"
        self.history = folder / "history"
        self.video = video.absolute()
        self.document, self.step, self.changed = Document(), 0, set[int]()
        self.frames: dict[int, FrameEntry] = {}
        self._index_of = {stem: index for index, stem in enumerate(source.stems or [])}
        self._table_is_old = False
        self._listed: dict[int, FrameEntry] = {}  # from the table, for masks of a run: their PNG has no text chunk
        for path in (self.masks, self.references, self.history):
            path.mkdir(parents=True, exist_ok=True)
        if (folder / "project.json").is_file():
            self._read()
        if self.is_new:
            self._set_current(0, self.document)
        self._list_frames()
        self._recover()

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
        """Return the path of the mask of a frame, whether the file exists or not."""
        return self.masks / f"{frame_name(self.source, index)}.png"

    def reference_path(self, index: int) -> Path:
        """Return the path of the reference mask of a frame, whether the file exists or not."""
        return self.references / f"{frame_name(self.source, index)}.png"

    @contextmanager
    def change(self) -> Iterator[Step]:
        """Record an undo step; it is committed to disk when the block ends without an error.

        Raises:
            EnvironmentFault: The disk fails.
        """
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

    def open_step(self) -> Step:
        """Commit an empty undo step that can be extended: masks added to it are on disk when `put_mask` returns."""
        with self.change() as step:
            pass
        step.folder = self.history / str(self.step)
        step.is_open = True
        return step

    def undo(self) -> bool:
        """Undo the current step. Returns False if there is none."""
        return self._move(-1, "before")

    def redo(self) -> bool:
        """Redo the step that was undone last. Returns False if there is none."""
        return self._move(1, "after")

    def write_table(self) -> None:
        """Write confidence/<video>.csv if it is out of date."""
        if self._table_is_old:
            write_whole(self.folder / "confidence" / f"{self.name}.csv", self._write_rows)
            self._table_is_old = False

    def apply(self, rel: str, content: Path) -> None:
        """Replace the file `rel` of the project by a hard link to `content`, or remove it if `content` is empty."""
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
            saved = json.loads(path.read_text(encoding="utf-8"))
            self.document, self.step = Document.from_json(saved), saved["step"]
            video, version = saved["video"], saved["format"]
            count, size = video["frames"], tuple(video["size"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise UsageError(f"{path} cannot be read as a project: {error!r}") from error
        if version != FORMAT:
            raise UsageError(f"{path} is of format {version}, made by a later version; this one writes {FORMAT}")
        if not self.is_new and (size != self.source.size or count != len(self.source)):
            raise UsageError(
                f"{self.folder} is the project of {video['path']} ({count} frames of {size_words(size)}), and "
                f"{self.video} is another video: give another project=FOLDER"
            )

    def _commit(self, step: Step) -> None:
        self.write_table()
        number = self.step + 1
        step.folder.mkdir(exist_ok=True)
        documents = {"before": self.document.as_json(), "after": step.document.as_json()}
        write_json(step.folder / "step.json", documents)
        steps = [int(path.name) for path in self.history.iterdir() if path.name.isdecimal()]
        for other in sorted(steps, reverse=True):
            if other >= number or other <= number - MAX_STEPS:
                Staged(self.history / str(other)).withdraw()
        step.folder.rename(self.history / str(number))
        self._set_current(number, step.document)
        self._apply_all(number, "after")

    def _move(self, by: int, side: str) -> bool:
        number = self.step if by < 0 else self.step + 1
        folder = self.history / str(number)
        if not folder.is_dir():
            return False
        try:
            self.write_table()
            documents = json.loads((folder / "step.json").read_text(encoding="utf-8"))
            self._set_current(self.step + by, Document.from_json(documents[side]))
            self._apply_all(number, side)
        except OSError as error:
            raise disk_fault(error, self.folder) from error
        return True

    def _set_current(self, step: int, document: Document) -> None:
        video = {"path": self.video, "frames": len(self.source), "size": self.source.size}
        content = {"format": FORMAT, "video": video, "step": step, **document.as_json()}
        write_json(self.folder / "project.json", content)
        self.step, self.document = step, document

    def _recover(self) -> None:
        """Complete or revert the change during which the last process was killed."""
        for path in self.history.iterdir():
            if not path.name.isdecimal():  # an uncommitted step, or one that was being removed
                remove(path)
        if self.can_undo:
            self._apply_all(self.step, "after")
        if self.can_redo:
            self._apply_all(self.step + 1, "before")

    def _apply_all(self, number: int, side: str) -> None:
        folder = self.history / str(number)
        for changed in sorted((folder / "after").rglob("*.png")):  # a file only in before/ has not been changed yet
            rel = changed.relative_to(folder / "after").as_posix()
            self.apply(rel, folder / side / rel)

    def _index(self, stem: str) -> int | None:
        if self._index_of:
            return self._index_of.get(stem)
        return int(stem) if stem.isdecimal() else None

    def _list_frames(self) -> None:
        """Fill `frames` from the table, faster than reading all PNG files; `_recover` rereads the latest changes."""
        table = self.folder / "confidence" / f"{self.name}.csv"
        confidence = read_confidence(table) if table.is_file() else {}
        for path in self.masks.glob("*.png"):
            if (index := self._index(path.stem)) is not None:
                self.frames[index] = FrameEntry(version_of(path), confidence.get(path.stem, {}))
        self._listed = dict(self.frames)

    def _write_rows(self, to: Path) -> None:
        with open(to, "w", newline="", encoding="utf-8", errors="surrogateescape") as file:
            table = csv.writer(file)
            table.writerow(ConfidenceTable.HEADER)
            for index, entry in sorted(self.frames.items()):
                name = frame_name(self.source, index)
                table.writerows(confidence_row(name, key, seen) for key, seen in sorted(entry.confidence.items()))
