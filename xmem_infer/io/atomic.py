"""Outputs appear whole or not at all: they grow under a hidden name and are renamed, by one process at a time."""

import errno
import json
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from enum import Enum
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from ..errors import EnvironmentFault

ADVICE = {
    errno.ENOSPC: "free some space there, or write to another disk",
    errno.EDQUOT: "your quota there is used up: free some space, or write to another disk",
    errno.EFBIG: "the file system or a limit of this shell (ulimit -f) allows no file of this size",
    errno.EROFS: "write to another disk: this one is read-only",
    errno.EACCES: "write to a folder of your own, or change the permissions of this one",
    errno.EPERM: "write to a folder of your own, or change the permissions of this one",
    errno.EISDIR: "a folder has that name: give another one, or move the folder away",
    errno.ENOTDIR: "a file stands where a folder is needed: give another name, or move the file away",
    errno.EEXIST: "a file stands where a folder is needed: give another name, or move the file away",
    errno.ENAMETOOLONG: "rename the video or its frames to something shorter",
}


def disk_fault(error: OSError, path: Path) -> EnvironmentFault:
    """The error to raise when writing the output `path` failed: which path, why, and what to do."""
    advice = ADVICE.get(error.errno or 0, "check the disk")
    return EnvironmentFault(f"cannot write {path}: {error.strerror or error}; {advice}")


@contextmanager
def held(folder: Path, what: str, setting: str) -> Iterator[None]:
    """Make a folder and hold it for this process alone; the lock, a file in it, dies with the process.

    Raises EnvironmentFault where `what`, another process's work, has it: give another `setting`.
    """
    lock = FileLock(folder / ".lock", timeout=0)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except Timeout:
        raise EnvironmentFault(f"{what}: wait for it, or give another {setting}") from None
    except OSError as error:
        raise disk_fault(error, folder) from error
    try:
        yield
    finally:
        lock.release()


class Staged:
    """A file or folder `final` that is built as `partial`, a hidden neighbour, until `publish` renames it.

    A folder cannot be renamed onto another, so a replaced folder waits as `old` for the moment of the two
    renames. Whenever the process is killed, `final` is absent, the old result or the new one, never a
    mixture, and the next `prepare` brings an old result back that was left aside. Whatever is removed is a
    partial first, so that nothing half removed is ever taken for whole.
    """

    def __init__(self, final: Path) -> None:
        self.final = final
        self.partial = final.with_name(f".{final.name}.partial")
        self.old = final.with_name(f".{final.name}.old")

    def prepare(self) -> None:
        """Make the parent folder and clear what a killed run left. Raises OSError."""
        self.final.parent.mkdir(parents=True, exist_ok=True)
        self.restore()
        remove(self.partial)
        self._remove(self.old)

    def restore(self) -> None:
        """Bring back an old result that a killed `publish` left aside. Raises OSError."""
        if os.path.lexists(self.old) and not os.path.lexists(self.final):
            self.old.rename(self.final)

    def publish(self) -> None:
        """Give the finished partial its final name, in place of an older result. Raises OSError.

        A file takes no folder's place: what stands there then is no older result.
        """
        if self.partial.is_dir():
            if os.path.lexists(self.final):
                self.final.rename(self.old)
            self.partial.rename(self.final)
            self._remove(self.old)
        else:
            self.partial.replace(self.final)

    def discard(self) -> None:
        """Drop the partial, quietly: this runs while another error is on its way out."""
        with suppress(OSError):
            remove(self.partial)

    def withdraw(self) -> None:
        """Remove the result and what is left of others; killed, it leaves the result whole or none. Raises OSError."""
        remove(self.partial)
        self._remove(self.old)
        self._remove(self.final)

    def _remove(self, path: Path) -> None:
        if os.path.lexists(path):
            path.rename(self.partial)
            remove(self.partial)


def remove(path: Path) -> None:
    """Delete a file, link or folder; nothing there is fine."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def check_writable(path: Path) -> None:
    """Raise EnvironmentFault where no file can be written to `path`, before the work whose result it is to hold."""
    there = next(folder for folder in path.absolute().parents if folder.exists())
    is_free = there.is_dir() and os.access(there, os.W_OK)
    if path.is_dir() or not is_free:
        code = errno.EISDIR if path.is_dir() else errno.EACCES if there.is_dir() else errno.ENOTDIR
        raise disk_fault(OSError(code, os.strerror(code)), path)


def write_whole(path: Path, write: Callable[[Path], object]) -> None:
    """Have `write` make a file that appears under its name whole or not at all. Raises EnvironmentFault."""
    staged = Staged(path)
    try:
        staged.prepare()
        write(staged.partial)
        staged.publish()
    except OSError as error:
        raise disk_fault(error, path) from error
    finally:
        staged.discard()


def write_json(path: Path, content: Any) -> None:
    """Write a JSON file whole or not at all. Raises EnvironmentFault."""
    text = json.dumps(content, indent=2, default=_plain, ensure_ascii=False)
    write_whole(path, lambda to: to.write_text(text + "\n", encoding="utf-8"))


def _plain(value: object) -> str:
    return value.name if isinstance(value, Enum) else str(value)
