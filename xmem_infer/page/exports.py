"""Background exports of a project, each downloadable by its job number."""

import logging
import zipfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from ..errors import XMemInferError
from ..export.run import EXPORTERS, export_masks
from ..io.atomic import write_whole
from ..io.frames import FrameSource
from .project import Project

log = logging.getLogger(__name__)


class _Stopped(Exception):
    pass


class Exports:
    """Runs exports one after the other in a background thread and writes them to <project>/exports.

    Attributes:
        files: The finished files, by job number.
    """

    def __init__(
        self, project: Project, frames: FrameSource, publish: Callable[[dict[str, Any]], None], fps: float
    ) -> None:
        self.project, self.frames, self.publish, self.fps = project, frames, publish, fps
        self.files: dict[int, Path] = {}
        self._jobs = 0
        self._stopped = False
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="export")

    @staticmethod
    def formats() -> list[dict[str, str]]:
        """Return the name and the title of each export format."""
        return [{"format": name, "label": EXPORTERS[name].title} for name in EXPORTERS.names()]

    def start(self, kind: str) -> int:
        """Queue an export and return its job number. Raises UsageError for an unknown format."""
        EXPORTERS[kind]
        self._jobs += 1
        self._pool.submit(self._export, self._jobs, kind)
        return self._jobs

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
                raise _Stopped

        try:
            exported = export_masks(
                kind,
                self.project.masks,
                self.project.folder / "exports",
                self.frames,
                source=video if video.is_file() else None,
                names={object_id: described["name"] for object_id, described in document.objects.items()},
                colours=document.colours(),
                fps=self.fps,
                overwrite=True,
                progress=progress,
            )
            self.files[job] = _zipped(exported) if exported.is_dir() else exported
            self.publish({**event, "file": self.files[job].name})
        except _Stopped:
            pass
        except XMemInferError as error:
            self.publish({**event, "error": str(error)})
        except Exception as error:  # the executor would swallow it
            log.exception("an export failed")
            self.publish({**event, "error": f"the export failed: {error!r}"})


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
