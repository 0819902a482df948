"""Kill a process before each of its file operations in turn, so that tests can check the files it leaves."""

import gc
import os
import sys
import traceback
from functools import partial
from itertools import count

CHANGES = ("os.rename", "os.remove", "os.rmdir", "os.mkdir", "os.link", "os.symlink", "os.truncate")  # audit events


class _Countdown:
    """An audit hook that ends the process before its nth file change; audit hooks cannot be removed."""

    left = None

    def __call__(self, event, arguments):
        if self.left is None:
            return
        if event in CHANGES:
            self._count()
        elif event == "open" and _writes(arguments[2]):
            self._count()
            if self.left == 0:  # a second time: the file exists and is empty
                self.left = None
                os.open(arguments[0], arguments[2], 0o666)
                os._exit(9)
            self.left -= 1

    def _count(self):
        self.left -= 1
        if self.left < 0:
            os._exit(9)


def _writes(flags):
    return bool(flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC))


def run_killed(operation, kill_before):
    """Run a function in a forked process that is killed before its nth file change; return True if it finished.

    Opening a file for writing counts twice, before and after it. The function must only work on files: the threads of
    this process do not exist in the fork.
    """
    child = os.fork()
    if child == 0:
        try:
            gc.disable()  # to free PyAV frames of earlier tests would wait for threads that do not exist here
            countdown = _Countdown()
            sys.addaudithook(countdown)
            countdown.left = kill_before
            operation()
            os._exit(0)
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(1)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert status in (0, 9), "the operation failed"
    return status == 0


def each_kill(folder, operation, before=lambda place: None):
    """Yield new folders, filled by `before`, as left by `operation` killed at each change; the last one completed."""
    for number in count():
        place = folder / f"killed{number}"
        place.mkdir()
        before(place)
        is_over = run_killed(partial(operation, place), number)
        yield place
        if is_over:
            return
