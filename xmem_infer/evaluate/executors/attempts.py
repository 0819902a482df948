"""The number of attempts at each video in a run, stored on disk because the counting process may be killed too."""

import json
import os
import socket
from datetime import datetime, timezone
from pathlib import Path

from ...errors import VideoError
from ...io.atomic import disk_fault, remove, write_json

MAX_ATTEMPTS = 3
ADVICE = (
    "It may need more memory than there is: run fewer videos at a time (workers=1), with a smaller data.size, or on "
    "another machine. The same command tries the unfinished videos again"
)


class Quarantined(VideoError):
    """A video that is given up because its worker died at every attempt; the batch continues without it."""


class Attempts:
    """One file per video in `output_dir/records/attempts`. Each run starts counting at zero."""

    def __init__(self, output_dir: Path):
        self.folder = output_dir / "records" / "attempts"

    def start(self, video: str) -> int:
        """Record an attempt before it starts and return its number, from 1. Raises Quarantined after three attempts."""
        attempts = self.previous(video)
        if len(attempts) >= MAX_ATTEMPTS:
            raise quarantine(attempts)
        now = datetime.now(timezone.utc).isoformat(timespec="seconds")
        write_json(self._path(video), [*attempts, f"process {os.getpid()} on {socket.gethostname()}, {now}"])
        return len(attempts) + 1

    def previous(self, video: str) -> list[str]:
        """Return who made each attempt and when, oldest first."""
        try:
            attempts: list[str] = json.loads(self._path(video).read_text(encoding="utf-8"))
        except FileNotFoundError:
            return []
        except OSError as error:
            raise disk_fault(error, self._path(video)) from error
        return attempts

    def clear(self) -> None:
        """Delete all attempts, at the start and at the end of a run."""
        try:
            remove(self.folder)
        except OSError as error:
            raise disk_fault(error, self.folder) from error

    def _path(self, video: str) -> Path:
        return self.folder / f"{video}.json"


def quarantine(attempts: list[str], deaths: list[str] | None = None) -> Quarantined:
    """Return the error for a video that has used up its attempts; `deaths` says how its workers ended, if known."""
    ends = "; ".join(deaths or attempts)
    return Quarantined(f"its worker died {len(attempts)} times in the midst of it ({ends}). {ADVICE}")
