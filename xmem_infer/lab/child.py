"""Measurements in fresh processes: one function in a new interpreter, the events it tells, and how it ended."""

import multiprocessing
import os
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from typing import Any

import torch

from ..errors import XMemInferError
from ..interrupts import check
from .resident import CeilingReached

Event = dict[str, Any]
Tell = Callable[..., None]  # tell("name of the event", figure=1, ...)
KILLED = -9  # SIGKILL: what the system does when memory is short


@dataclass
class Outcome:
    """What a child reported before it ended. status: ok | oom | failed; reason: why it is not ok."""

    status: str
    events: list[Event] = field(default_factory=list)
    reason: str = ""

    def last(self, kind: str) -> Event | None:
        """The last event of a kind."""
        return next((event for event in reversed(self.events) if event["event"] == kind), None)

    def all(self, kind: str) -> list[Event]:
        """All events of a kind, in order."""
        return [event for event in self.events if event["event"] == kind]


def run_in_child(
    function: Callable[[Any, Tell], None], request: Any, threads: int | None = None,
    watch: Callable[[Event], object] = lambda event: check(),
) -> Outcome:  # fmt: skip
    """Run a function in a fresh process.

    Args:
        function: At the top level of its module; takes the request and `tell`, which sends an event to the parent.
        request: Any value that can be pickled.
        threads: CPU threads of torch in the child; None: torch's choice.
        watch: Sees every event as it comes. What it raises ends the child and is raised here.

    Returns:
        How the child ended. Nothing that happens inside it is raised: one killed by the system is an `oom`.
    """
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    child = context.Process(target=_work, args=(function, request, threads, sender))
    child.start()
    sender.close()
    outcome = Outcome("ok")
    try:
        for event in _received(receiver):
            outcome.events.append(event)
            watch(event)
    except BaseException:
        child.kill()
        raise
    finally:
        child.join()
        receiver.close()
    _set_status(outcome, child.exitcode)
    return outcome


def _received(receiver: Connection) -> Iterator[Event]:
    with suppress(EOFError, OSError):  # the child has ended, perhaps in the middle of an event
        while True:
            yield receiver.recv()


def _set_status(outcome: Outcome, code: int | None) -> None:
    """Any event may carry `oom`: why its work stopped for lack of memory."""
    stopped = next((event["oom"] for event in outcome.events if event.get("oom")), "")
    error = (outcome.last("error") or {"message": "no message"})["message"]
    if code == KILLED:
        outcome.status, outcome.reason = "oom", "killed by the system, as it does when memory is short"
    elif code != 0:
        outcome.status, outcome.reason = "failed", f"exit code {code}: {error}"
    elif outcome.last("error"):
        outcome.status, outcome.reason = "failed", error
    elif stopped:
        outcome.status, outcome.reason = "oom", stopped


def _work(function: Callable[[Any, Tell], None], request: Any, threads: int | None, sender: Connection) -> None:
    """The child's side: call the function, report how it ended."""
    if hasattr(os, "setsid"):  # the terminal's Ctrl-C is for the parent; here SIGINT marks the memory ceiling
        os.setsid()
    os.dup2(2, 1)  # what libraries print must not get between the parent's tables

    def tell(event: str, **fields: Any) -> None:
        sender.send({"event": event, **fields})

    tell("started", pid=os.getpid())
    try:
        if threads:
            torch.set_num_threads(threads)
        function(request, tell)
    except CeilingReached:
        tell("stopped", oom="stopped at the memory ceiling")
    except (torch.OutOfMemoryError, MemoryError) as error:
        tell("stopped", oom=str(error).partition("\n")[0] or "out of memory")
    except XMemInferError as error:
        tell("error", message=str(error))
    except Exception as error:
        tell("error", message=f"{type(error).__name__}: {error}")
        raise
