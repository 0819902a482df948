"""Deferred handling of SIGINT and SIGTERM: signals are recorded, and `check` raises at safe points.

An exception raised by a signal handler can occur anywhere, even while a lock of `queue` is held, which is then never
released and the program hangs. Therefore the handler only records the signal, and `check` raises between two frames.
If `check` is not called within GRACE_S (a frame may take longer), the exception is raised immediately after all.
"""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

GRACE_S = 2.0

_pending: list[int] = []  # numbers of the signals received and not yet raised


class Interrupted(KeyboardInterrupt):
    """The program was interrupted by the signal `number`."""

    def __init__(self, number: int):
        super().__init__(signal.Signals(number).name)
        self.number = number


def check() -> None:
    """Raise Interrupted if a signal was recorded inside `noted_signals`; call this where it is safe to stop."""
    if _pending:
        if hasattr(signal, "SIGALRM"):
            signal.setitimer(signal.ITIMER_REAL, 0)  # the timer must not raise again during cleanup
        raise Interrupted(_pending[0])


@contextmanager
def noted_signals() -> Iterator[None]:
    """Record SIGINT and SIGTERM for `check` inside the `with` block; restore handlers and timer afterwards.

    Has no effect outside the main thread, because only the main thread may set signal handlers.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    numbers = [signal.SIGINT, signal.SIGTERM]
    handlers = {number: signal.signal(number, _record) for number in numbers}
    if hasattr(signal, "SIGALRM"):
        timer, alarm = signal.setitimer(signal.ITIMER_REAL, 0), signal.signal(signal.SIGALRM, _raise_pending)
    try:
        yield
    finally:
        if hasattr(signal, "SIGALRM"):
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, alarm)
            signal.setitimer(signal.ITIMER_REAL, *timer)
        for number, handler in handlers.items():
            signal.signal(number, handler)
        _pending.clear()  # so that `check` does not raise again outside this block


def _record(number: int, frame: FrameType | None) -> None:
    _pending.append(number)
    if not hasattr(signal, "SIGALRM"):
        raise Interrupted(number)
    signal.setitimer(signal.ITIMER_REAL, GRACE_S)


def _raise_pending(number: int, frame: FrameType | None) -> None:
    raise Interrupted(_pending[0])
