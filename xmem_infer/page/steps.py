"""One undo step of a project: the changed files before and after it, and the document after it."""

import os
import shutil
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..io.atomic import disk_fault
from ..types import ObjectConfidence
from .document import Document
from .label_files import encode_png

if TYPE_CHECKING:
    from .project import Project


class Step:
    """One undo step, created by `Project.change` or `Project.open_step`.

    Attributes:
        document: The document after the step.
        folder: Folder of the step in the history.
        is_open: Whether the step is committed already, so that added files take effect immediately.
    """

    def __init__(self, project: "Project", folder: Path, document: Document) -> None:
        self.project, self.folder, self.document, self.is_open = project, folder, document, False

    def put_mask(self, index: int, ids: np.ndarray, confidence: dict[int, ObjectConfidence]) -> None:
        """Set the mask of a frame to (H, W) uint8 object ids."""
        self._put(self.project.mask_path(index), encode_png(ids, self.document.palette(), confidence))

    def put_reference(self, index: int, ids: np.ndarray | None) -> None:
        """Set or remove (None) the reference mask of a frame, also in the document. `put_mask` is called separately."""
        others = set(self.document.references) - {index}
        given = others if ids is None else others | {index}
        self.document = replace(self.document, references=tuple(sorted(given)))
        content = b"" if ids is None else encode_png(ids, self.document.palette(), {})
        self._put(self.project.reference_path(index), content)

    def _put(self, final: Path, content: bytes) -> None:
        rel = final.relative_to(self.project.folder).as_posix()
        before, after = self.folder / "before" / rel, self.folder / "after" / rel
        try:
            for path in (before, after):
                path.parent.mkdir(parents=True, exist_ok=True)
            if not after.exists():  # otherwise this step has changed the file before
                if final.exists():
                    link(final, before)
                else:
                    before.write_bytes(b"")
            partial = after.with_name(".partial")
            partial.write_bytes(content)
            partial.replace(after)
            if self.is_open:
                self.project.apply(rel, after)
        except OSError as error:
            raise disk_fault(error, final) from error


def link(source: Path, to: Path) -> None:
    """Hard-link `source` to `to`, replacing it atomically; copy if the file system does not support hard links."""
    partial = to.with_name(".link")
    partial.unlink(missing_ok=True)
    try:
        os.link(source, partial)
    except OSError:
        shutil.copy2(source, partial)
    partial.replace(to)
