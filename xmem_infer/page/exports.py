"""Background exports of a project, each downloadable by its job number."""

import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from ..errors import XMemInferError
from ..export.run import EXPORTERS, export_masks
from ..io.atomic import write_whole
from .project import Project
from .worker import Publish, failure_message


class Exports:
    """Runs exports one after the other in a background thread and writes them to <project>/exports.

    Attributes:
        files: The finished files, by job number.
    """

    def __init__(self, project: Project, fps: float, publish: Publish) -> None:
        self.project, self.fps, self.publish = project, fps, publish
        self.files: dict[int, Path] = {}
        self._stopped = False
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="export")

    def start(self, kind: str, job: int) -> None:
        """Queue an export. Raises UsageError for an unknown format."""
        EXPORTERS[kind]
        self._pool.submit(self._export, job, kind)

    def close(self) -> None:
        """Cancel all exports and remove unfinished files."""
        self._stopped = True
        self._pool.shutdown(wait=True, cancel_futures=True)

    def _export(self, job: int, kind: str) -> None:
        event: dict[str, Any] = {"event": "export", "job": job, "done": 0, "total": None}
        document, video = self.project.document, self.project.video

        def progress(done: int, total: int | None) -> None:
            event.update(done=done, total=total)
            self.publish(event)
            if self._stopped:
                raise XMemInferError("the server was stopped")

        try:
            exported = export_masks(
                kind,
                self.project.masks,
                self.project.folder / "exports",
                self.project.source,
                source=video if video.is_file() else None,
                names={object_id: described["name"] for object_id, described in document.objects.items()},
                colours=document.colours(),
                fps=self.fps,
                overwrite=True,
                progress=progress,
            )
            self.files[job] = _zipped(exported) if exported.is_dir() else exported
            self.publish({**event, "file": self.files[job].name})
        except Exception as error:  # the executor would swallow it
            self.publish({**event, "error": failure_message("the export", error)})


def _zipped(folder: Path) -> Path:
    """Write a zip of a folder beside it and return its path."""
    path = folder.with_name(f"{folder.name}.zip")

    def write(to: Path) -> None:
        with zipfile.ZipFile(to, "w", zipfile.ZIP_STORED) as archive:
            for file in sorted(folder.rglob("*")):
                if file.is_file():
                    archive.write(file, file.relative_to(folder.parent))

    write_whole(path, write)
    return path
