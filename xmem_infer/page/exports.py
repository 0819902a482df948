"""Exports of a project in the background, each to be downloaded by its number."""

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
from .document import rgb
from .project import Project

log = logging.getLogger(__name__)


class _Stopped(Exception):
    pass


class Exports:
    """One export after the other, below <project>/exports.

    Attributes:
        files: What can be downloaded, by the number of the job.
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
        """Name and title of each."""
        return [{"format": name, "label": EXPORTERS[name].title} for name in EXPORTERS.names()]

    def start(self, kind: str) -> int:
        """Export in a format; returns the number of the job. Raises UsageError for a format that is not there."""
        EXPORTERS[kind]
        self._jobs += 1
        self._pool.submit(self._export, self._jobs, kind)
        return self._jobs

    def close(self) -> None:
        """Stop; what is unfinished is removed."""
        self._stopped = True
        self._pool.shutdown(wait=True, cancel_futures=True)

    def _export(self, job: int, kind: str) -> None:
        said: dict[str, Any] = {"event": "export", "job": job, "done": 0, "total": None}
        objects, video = self.project.document.objects, Path(self.project.video)

        def progress(done: int, total: int | None) -> None:
            said.update(done=done, total=total)
            self.publish(said)
            if self._stopped:
                raise _Stopped

        try:
            made = export_masks(
                kind,
                self.project.masks,
                self.project.folder / "exports",
                self.frames,
                source=video if video.is_file() else None,
                names={one: named["name"] for one, named in objects.items()},
                colours={one: rgb(named["colour"]) for one, named in objects.items()},
                fps=self.fps,
                overwrite=True,
                progress=progress,
            )
            self.files[job] = _packed(made) if made.is_dir() else made
            self.publish({**said, "file": self.files[job].name})
        except _Stopped:
            pass
        except XMemInferError as error:
            self.publish({**said, "error": str(error)})
        except Exception as error:  # nobody else would see it
            log.exception("an export failed")
            self.publish({**said, "error": f"the export failed: {error!r}"})


def _packed(folder: Path) -> Path:
    """A zip of a folder, beside it."""
    path = folder.with_name(f"{folder.name}.zip")

    def write(to: Path) -> None:
        with zipfile.ZipFile(to, "w", zipfile.ZIP_STORED) as archive:
            for file in sorted(folder.rglob("*")):
                if file.is_file():
                    archive.write(file, file.relative_to(folder.parent))

    write_whole(path, write)
    return path
