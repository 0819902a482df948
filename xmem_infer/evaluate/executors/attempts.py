"""How often each video was begun in this run; kept on disk, since a process that counts may be killed too."""

import json
import os
import shutil
import socket
from datetime import datetime, timezone
from pathlib import Path

from ...errors import VideoError
from ...io.atomic import disk_fault, write_json

MAX_ATTEMPTS = 3
ADVICE = (
    "It may need more memory than there is: give it fewer neighbours (workers=1), a smaller data.size, or a machine "
    "of its own. The same command tries again what is not finished"
)


class Quarantined(VideoError):
    """A video whose worker died at every attempt; it is given up so that the others go on."""


class Attempts:
    """One file per video below `output_dir/records/attempts`; of one run, the next one starts at zero."""

    def __init__(self, output_dir: Path):
        self.folder = output_dir / "records" / "attempts"

    def begin(self, video: str) -> int:
        """Count an attempt before it is made; returns its number, from 1. Raises Quarantined after three."""
        made = self.made(video)
        if len(made) >= MAX_ATTEMPTS:
            raise quarantine(made)
        now = datetime.now(timezone.utc).isoformat(timespec="seconds")
        write_json(self._path(video), [*made, f"process {os.getpid()} on {socket.gethostname()}, {now}"])
        return len(made) + 1

    def made(self, video: str) -> list[str]:
        """Who made each attempt and when, oldest first."""
        try:
            made: list[str] = json.loads(self._path(video).read_text(encoding="utf-8"))
        except FileNotFoundError:
            return []
        except OSError as error:
            raise disk_fault(error, self._path(video)) from error
        return made

    def clear(self) -> None:
        """Forget all attempts, at the start and at the end of a run."""
        try:
            shutil.rmtree(self.folder, ignore_errors=not self.folder.exists())
        except OSError as error:
            raise disk_fault(error, self.folder) from error

    def _path(self, video: str) -> Path:
        return self.folder / f"{video}.json"


def quarantine(made: list[str], deaths: list[str] | None = None) -> Quarantined:
    """The error for a video that was begun too often. made: its attempts; deaths: how its workers ended, if known."""
    ends = "; ".join(deaths or made)
    return Quarantined(f"its worker died {len(made)} times in the midst of it ({ends}). {ADVICE}")
