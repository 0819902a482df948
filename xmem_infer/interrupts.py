"""SIGINT and SIGTERM as a question asked at safe moments.

An exception out of a signal handler strikes anywhere, also inside a lock of `queue`, which then stays held and
the program hangs. So the handler only notes the signal, and `check` raises between two frames. Where no
such moment comes within GRACE_S (a frame may take longer than that), the exception strikes after all.
"""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

GRACE_S = 2.0

_pending: list[int] = []


class Interrupted(KeyboardInterrupt):
    """The program was asked to stop by the signal `number`."""

    def __init__(self, number: int):
        super().__init__(signal.Signals(number).name)
        self.number = number


def check() -> None:
    """Raise Interrupted if a signal came since `noted_signals` began; to be called where stopping is safe."""
    if _pending:
        if hasattr(signal, "SIGALRM"):
            signal.setitimer(signal.ITIMER_REAL, 0)  # not once more, while things are put away
        raise Interrupted(_pending[0])


@contextmanager
def noted_signals() -> Iterator[None]:
    """Within this block SIGINT and SIGTERM are noted for `check`; handlers and timer are put back at its end.

    Has no effect outside the main thread, which alone may set handlers.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    numbers = [signal.SIGINT, signal.SIGTERM]
    before = {number: signal.signal(number, _note) for number in numbers}
    if hasattr(signal, "SIGALRM"):
        timer, alarm = signal.setitimer(signal.ITIMER_REAL, 0), signal.signal(signal.SIGALRM, _strike)
    _pending.clear()
    try:
        yield
    finally:
        if hasattr(signal, "SIGALRM"):
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, alarm)
            signal.setitimer(signal.ITIMER_REAL, *timer)
        for number, handler in before.items():
            signal.signal(number, handler)


def _note(number: int, frame: FrameType | None) -> None:
    _pending.append(number)
    if not hasattr(signal, "SIGALRM"):
        raise Interrupted(number)
    signal.setitimer(signal.ITIMER_REAL, GRACE_S)


def _strike(number: int, frame: FrameType | None) -> None:
    raise Interrupted(_pending[0])
