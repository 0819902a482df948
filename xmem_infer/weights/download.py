"""Gets a published checkpoint into a folder, once, checked. The only code that opens the network, when called."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from ..errors import EnvironmentFault, WeightsError
from .fetch import Progress, Say, fetch
from .files import read_checkpoint
from .hashes import read_lock, record_hash, require_hash
from .manifest import WeightsEntry
from .partial import PartFile


@dataclass(frozen=True)
class Downloaded:
    """Where a checkpoint is, its sha256, and whether bytes were fetched for it now."""

    path: Path
    sha256: str
    fetched: bool


def _silent(*_: object) -> None:
    pass


def download(
    entry: WeightsEntry,
    folder: Path,
    progress: Progress = _silent,
    say: Say = _silent,
    *,
    timeout_s: float = 30.0,
    attempts: int = 5,
    wait_s: float = 1.0,
) -> Downloaded:
    """Make sure that `folder` holds a readable `entry.name` with the hash known for it, fetching it if needed.

    A readable file already there is kept (its hash recorded if none was known); an unusable one is moved aside
    (`<name>.unusable.pth`) once the new one is checked. progress(bytes so far, bytes in all or None). say(one line
    about a retry or a replacement). Raises WeightsError where the file offered or found is not the right one,
    EnvironmentFault for network, disk, or another download into the folder.
    """
    final = folder / entry.name
    sha256 = _hash_if_readable(final)
    if sha256 and require_hash(final, sha256, entry):
        return Downloaded(final, sha256, fetched=False)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise EnvironmentFault(f"the folder {folder} cannot be made: {error.strerror or error}") from error
    with _only_download(folder):
        sha256 = _hash_if_readable(final)  # again: another run may have brought it since
        fetched = sha256 is None
        if sha256 is None:
            if final.exists():
                say(f"{entry.name}: the file there cannot be used and will be replaced")
            part = PartFile(final)
            fetch(entry, part, progress, say, timeout_s, attempts, wait_s)
            sha256 = _checked(part, entry)
            part.finish()
        require_hash(final, sha256, entry)
        if read_lock(folder).get(entry.name) != sha256:
            record_hash(final, sha256, entry.url)
    return Downloaded(final, sha256, fetched)


def _hash_if_readable(path: Path) -> str | None:
    """The sha256 of a readable checkpoint; None where there is none or it cannot be used."""
    if path.exists() and not path.is_file():
        raise EnvironmentFault(f"{path} is in the way: it is not a file")
    try:
        return read_checkpoint(path).sha256 if path.exists() else None
    except WeightsError:
        return None


def _checked(part: PartFile, entry: WeightsEntry) -> str:
    """The sha256 of a complete download that is a checkpoint and the one expected; anything else is removed."""
    try:
        sha256 = read_checkpoint(part.path).sha256
        require_hash(part.final, sha256, entry)
    except WeightsError as error:
        part.forget()
        raise WeightsError(f"what {entry.url} served was refused and removed: {error}") from error
    return sha256


@contextmanager
def _only_download(folder: Path) -> Iterator[None]:
    """Hold the folder for one download at a time; the hold ends with the process, however that ends."""
    try:
        handle = (folder / ".downloads.part").open("ab")
    except OSError as error:
        raise EnvironmentFault(f"the folder {folder} cannot be written: {error.strerror or error}") from error
    with handle:
        try:
            _lock(handle.fileno())
        except (BlockingIOError, PermissionError):
            raise EnvironmentFault(
                f"another download into {folder} is running: wait for it to end, then run this again"
            ) from None
        yield


if sys.platform == "win32":
    import msvcrt

    def _lock(descriptor: int) -> None:
        os.lseek(descriptor, 0, os.SEEK_SET)
        msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)

else:
    import fcntl

    def _lock(descriptor: int) -> None:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
