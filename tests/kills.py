"""Kill a process before each of its file operations in turn, and look at what it leaves."""

import os
import sys
from contextlib import suppress

CHANGES = ("os.rename", "os.remove", "os.rmdir", "os.mkdir", "os.link", "os.symlink", "os.truncate")  # audit events


class _Countdown:
    """An audit hook that ends the process before its nth change of the disk; there is no way to remove a hook."""

    left = None

    def __call__(self, event, arguments):
        if self.left is not None and (event in CHANGES or (event == "open" and _writes(arguments[2]))):
            self.left -= 1
            if self.left < 0:
                os._exit(9)


def _writes(flags):
    return bool(flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC))


def run_killed(operation, kill_before):
    """Run a function in a forked process that is gone before its nth change of the disk; True where it came to its end.

    What runs there must work on files alone: threads of this process are not there.
    """
    child = os.fork()
    if child == 0:
        with suppress(BaseException):
            countdown = _Countdown()
            sys.addaudithook(countdown)
            countdown.left = kill_before
            operation()
            os._exit(0)
        os._exit(1)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert status in (0, 9), "the operation failed"
    return status == 0
