"""Run a function in a fresh process, collect the events that it sends, and report how the process ended."""

import multiprocessing
import os
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from typing import Any

import torch

from ..errors import XMemInferError
from ..interrupts import check
from .resident import CeilingReached

Event = dict[str, Any]
Send = Callable[..., None]  # send("name of the event", field=1, ...)
KILLED = -9  # exit code after SIGKILL, which the system sends when memory is short


@dataclass
class Outcome:
    """The events that a child process sent and how it ended. status: ok | oom | failed; reason: why it is not ok."""

    status: str
    events: list[Event] = field(default_factory=list)
    reason: str = ""

    def last(self, kind: str) -> Event | None:
        """Return the last event of a kind, or None."""
        return next((event for event in reversed(self.events) if event["event"] == kind), None)

    def all(self, kind: str) -> list[Event]:
        """Return all events of a kind, in order."""
        return [event for event in self.events if event["event"] == kind]


def run_in_child(work: Callable[[Send], None], threads: int | None = None) -> Outcome:
    """Run `work(send)` in a fresh process. A noted signal kills it at its next event and is raised here.

    Args:
        work: A function that can be pickled, such as a `partial` of one at the top level of a module. It gets `send`,
            which sends an event to this process.
        threads: CPU threads of torch in the child; None: torch's choice.

    Returns:
        The events and how the child ended. Errors inside the child are not raised; a child killed by the system is
        reported as `oom`.
    """
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    child = context.Process(target=_work, args=(work, threads, sender))
    child.start()
    sender.close()
    outcome = Outcome("ok")
    try:
        with suppress(EOFError, OSError):  # raised when the child has ended, perhaps in the middle of an event
            while True:
                outcome.events.append(receiver.recv())
                check()
    except BaseException:
        child.kill()
        raise
    finally:
        child.join()
        receiver.close()
    # The field `oom` of an event says why memory ran out.
    oom_reason = next((event["oom"] for event in outcome.events if event.get("oom")), "")
    error = (outcome.last("error") or {"message": "no message"})["message"]
    if child.exitcode == KILLED:
        outcome.status, outcome.reason = "oom", "killed by the system, as it does when memory is short"
    elif child.exitcode:
        outcome.status, outcome.reason = "failed", f"exit code {child.exitcode}: {error}"
    elif outcome.last("error"):
        outcome.status, outcome.reason = "failed", error
    elif oom_reason:
        outcome.status, outcome.reason = "oom", oom_reason
    return outcome


def _work(work: Callable[[Send], None], threads: int | None, sender: Connection) -> None:
    """Do the work in the child process and send how it ended."""
    if hasattr(os, "setsid"):  # keeps the terminal's Ctrl-C away: in the child, SIGINT means the memory ceiling
        os.setsid()
    os.dup2(2, 1)  # so that output of libraries does not mix with the parent's tables

    def send(event: str, **fields: Any) -> None:
        sender.send({"event": event, **fields})

    send("started", pid=os.getpid())
    try:
        if threads:
            torch.set_num_threads(threads)
        work(send)
    except CeilingReached:
        send("stopped", oom="stopped at the memory ceiling")
    except (torch.OutOfMemoryError, MemoryError) as error:
        send("stopped", oom=str(error).partition("\n")[0] or "out of memory")
    except XMemInferError as error:
        send("error", message=str(error))
    except Exception as error:
        send("error", message=f"{type(error).__name__}: {error}")
        raise
