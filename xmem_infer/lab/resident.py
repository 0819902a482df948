"""Resident memory of this process, and a ceiling on it."""

import _thread
import re
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType

import torch

from ..evaluate.provenance import peak_memory

_PROC = Path("/proc/self")
_POLL_SECONDS = 0.02


class CeilingReached(BaseException):
    """Raised in the main thread when resident memory exceeds the ceiling. Not an Exception: the work did not fail."""


def resident_bytes() -> int:
    """Return the current resident size, the peak if the system reports only that (macOS), or 0 if neither."""
    return _status("VmRSS")


def peak_resident_bytes() -> int:
    """Return the peak resident size since process start or `restart_peak`, or 0 if the system does not report it.

    getrusage is only the fallback, because on Linux its value is inherited from the parent process.
    """
    return _status("VmHWM")


def restart_peak() -> None:
    """Reset the peak resident size if the system can (Linux). Otherwise do nothing."""
    with suppress(OSError):
        (_PROC / "clear_refs").write_text("5")


@contextmanager
def ceiling(limit_bytes: int) -> Iterator[None]:
    """Raise CeilingReached in the main thread, which must run this block, once resident memory exceeds the limit.

    A thread checks every 20 ms. The exception is raised when the operation that is running then has finished.
    """
    done = threading.Event()

    def watch() -> None:
        while not done.wait(_POLL_SECONDS):
            if resident_bytes() > limit_bytes:
                _thread.interrupt_main(signal.SIGINT)
                return

    def stop(number: int, frame: FrameType | None) -> None:
        raise CeilingReached

    watcher = threading.Thread(target=watch, name="memory ceiling", daemon=True)
    before = signal.signal(signal.SIGINT, stop)
    try:
        watcher.start()
        yield
    finally:
        done.set()
        watcher.join()
        signal.signal(signal.SIGINT, before)


def _status(name: str) -> int:
    """Return a field of /proc/self/status in bytes, or the peak since process start if there is no such field."""
    with suppress(OSError):
        if match := re.search(rf"^{name}:\s+(\d+) kB", (_PROC / "status").read_text(), re.MULTILINE):
            return int(match[1]) * 1024
    return peak_memory(torch.device("cpu")).get("resident_bytes", 0)
