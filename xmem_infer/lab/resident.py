"""Resident memory of this process, and a ceiling on it."""

import _thread
import re
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

import torch

from ..evaluate.provenance import peak_memory

_PROC = Path("/proc/self")
_POLL_SECONDS = 0.02


class CeilingReached(BaseException):
    """Raised in the main thread when resident memory passes the ceiling; not an error of the work itself."""


def resident_bytes() -> int:
    """Resident size now; where the system only tells the largest so far (macOS), that; 0 where it tells nothing."""
    found = _status("VmRSS")
    return _peak_since_start() if found is None else found


def peak_resident_bytes() -> int:
    """Largest resident size since the start of this process or `restart_peak`; 0 where the system does not tell.

    Not from getrusage where that can be avoided: its figure is inherited from the parent process on Linux.
    """
    found = _status("VmHWM")
    return _peak_since_start() if found is None else found


def restart_peak() -> None:
    """Forget the peak so far, where the system can (Linux); elsewhere it goes on counting from the start."""
    try:
        (_PROC / "clear_refs").write_text("5")
    except OSError:
        return


@contextmanager
def ceiling(limit_bytes: int) -> Iterator[None]:
    """Raise CeilingReached in the main thread, which runs this block, once resident memory passes the limit.

    A thread looks every 20 ms; the exception comes at the end of the operation then running.
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


def _status(name: str) -> int | None:
    """A field of /proc/self/status in bytes; None where there is none."""
    try:
        found = re.search(rf"^{name}:\s+(\d+) kB", (_PROC / "status").read_text(), re.MULTILINE)
    except OSError:
        return None
    return int(found[1]) * 1024 if found else None


def _peak_since_start() -> int:
    return peak_memory(torch.device("cpu")).get("resident_bytes", 0)
