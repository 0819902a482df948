"""One change of a project: its files before and after, and the document after it."""

import os
import shutil
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..io.atomic import disk_fault
from ..types import ObjectConfidence
from .document import Document
from .label_files import PROPAGATED, REFERENCE, encode_labels

if TYPE_CHECKING:
    from .project import Project


class Step:
    """Files and the document on either side of one change; see `Project.change` and `Project.begin`.

    Attributes:
        document: As it is after the step.
        folder: Where the step is kept.
        is_open: Whether it counts already, so that what is put takes effect at once.
    """

    def __init__(self, project: "Project", folder: Path, document: Document) -> None:
        self.project, self.folder, self.document, self.is_open = project, folder, document, False

    def put_mask(
        self, index: int, ids: np.ndarray | None, confidence: dict[int, ObjectConfidence], origin: str = PROPAGATED
    ) -> None:
        """The mask of a frame, (H, W) uint8 object ids; None: it has none any more."""
        content = b"" if ids is None else encode_labels(ids, self.document.palette(), origin, confidence)
        self._put(self.project.mask_path(index), content)

    def put_reference(self, index: int, ids: np.ndarray | None) -> None:
        """A mask that the user gives, or None to take it back; the document says so, too. Its mask is put apart."""
        others = set(self.document.references) - {index}
        given = others if ids is None else others | {index}
        self.document = replace(self.document, references=tuple(sorted(given)))
        content = b"" if ids is None else encode_labels(ids, self.document.palette(), REFERENCE, {})
        self._put(self.project.reference_path(index), content)

    def _put(self, final: Path, content: bytes) -> None:
        rel = final.relative_to(self.project.folder).as_posix()
        before, after = self.folder / "before" / rel, self.folder / "after" / rel
        try:
            for path in (before, after):
                path.parent.mkdir(parents=True, exist_ok=True)
            if not after.exists():  # else this step has put it before
                self._keep(final, before)
            partial = after.with_name(".partial")
            partial.write_bytes(content)
            partial.replace(after)
            if self.is_open:
                self.project.apply(rel, after)
        except OSError as error:
            raise disk_fault(error, final) from error

    def _keep(self, final: Path, before: Path) -> None:
        if final.exists():
            link(final, before)
        else:
            before.write_bytes(b"")


def link(source: Path, to: Path) -> None:
    """Give a file a second name, in place of another file; a copy where the file system has no links."""
    partial = to.with_name(".link")
    partial.unlink(missing_ok=True)
    try:
        os.link(source, partial)
    except OSError:
        shutil.copy2(source, partial)
    partial.replace(to)
