"""Atomic output: write under a hidden temporary name, then rename; lock files keep other processes out."""

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
    """Return the error for a failed write to `path`; its message gives the path, the cause and a remedy."""
    advice = ADVICE.get(error.errno or 0, "check the disk")
    return EnvironmentFault(f"cannot write {path}: {error.strerror or error}; {advice}")


@contextmanager
def locked(folder: Path, what: str, setting: str) -> Iterator[None]:
    """Create `folder` and hold an exclusive lock on it; the operating system releases the lock if the process dies.

    Raises EnvironmentFault if the folder cannot be written, or if another process holds the lock: then `what` is the
    start of the message ("another run is writing to FOLDER"), and `setting` the name of what chooses the folder.
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
    """A file or folder that is written under a temporary name and renamed to its final name when complete.

    The temporary name, `partial`, is a hidden entry next to `final`. A folder cannot be renamed onto an existing
    folder, so `publish` moves a previous result to `old` first and removes it afterwards. If the process is killed
    at any moment, `final` is missing, the previous result or the new one, never a mixture; the next `prepare`
    restores a previous result that is still at `old`. Results are renamed to `partial` before they are deleted,
    so that an interrupted deletion never leaves an incomplete result under a final name.
    """

    def __init__(self, final: Path) -> None:
        self.final = final
        self.partial = final.with_name(f".{final.name}.partial")
        self.old = final.with_name(f".{final.name}.old")

    def prepare(self) -> None:
        """Create the parent folder and remove the leftovers of a killed process. Raises OSError."""
        self.final.parent.mkdir(parents=True, exist_ok=True)
        self.restore()
        remove(self.partial)
        self._remove(self.old)

    def restore(self) -> None:
        """Restore the previous result if a `publish` was killed between its two renames. Raises OSError."""
        if os.path.lexists(self.old) and not os.path.lexists(self.final):
            self.old.rename(self.final)

    def publish(self) -> None:
        """Rename the finished result to its final name, replacing a previous result. Raises OSError.

        A file never replaces a folder, because such a folder is not a previous result.
        """
        if self.partial.is_dir():
            if os.path.lexists(self.final):
                self.final.rename(self.old)
            self.partial.rename(self.final)
            self._remove(self.old)
        else:
            self.partial.replace(self.final)

    def discard(self) -> None:
        """Delete the temporary file or folder; errors are ignored so that they do not hide the original one."""
        with suppress(OSError):
            remove(self.partial)

    def withdraw(self) -> None:
        """Delete the result and all leftovers; if killed, the result is still complete or gone. Raises OSError."""
        remove(self.partial)
        self._remove(self.old)
        self._remove(self.final)

    def _remove(self, path: Path) -> None:
        if os.path.lexists(path):
            path.rename(self.partial)
            remove(self.partial)


def remove(path: Path) -> None:
    """Delete a file, link or folder, if it exists."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def check_writable(path: Path) -> None:
    """Raise EnvironmentFault if no file can be written to `path`; call it before a long computation."""
    parent = next(folder for folder in path.absolute().parents if folder.exists())
    if path.is_dir() or not parent.is_dir() or not os.access(parent, os.W_OK):
        code = errno.EISDIR if path.is_dir() else errno.EACCES if parent.is_dir() else errno.ENOTDIR
        raise disk_fault(OSError(code, os.strerror(code)), path)


def write_whole(path: Path, write: Callable[[Path], object]) -> None:
    """Call `write` with a temporary path and rename that file to `path` when done. Raises EnvironmentFault."""
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
    """Write a JSON file atomically. Raises EnvironmentFault."""
    text = json.dumps(content, indent=2, default=_plain, ensure_ascii=False)
    write_whole(path, lambda to: to.write_text(text + "\n", encoding="utf-8"))


def _plain(value: object) -> str:
    return value.name if isinstance(value, Enum) else str(value)
