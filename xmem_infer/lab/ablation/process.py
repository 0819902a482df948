"""The parent's side of the child processes: requests, their events, how they ended."""

import json
import os
import pickle
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any

from .requests import Request

Event = dict[str, Any]
STOPS = ("pass_done", "oom")  # events that may tell of too little memory
KILLED = -9  # SIGKILL, which Windows does not know
COMMAND = (sys.executable, "-m", f"{__package__}.child")


def child_environment() -> dict[str, str]:
    """This process's environment, in which a child finds this very package, installed or not."""
    root = str(Path(__file__).resolve().parents[3])
    return {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH")]))}


@dataclass
class Outcome:
    """What a child told before it ended. status: ok | oom | failed; reason: why, where it is not ok."""

    status: str
    events: list[Event] = field(default_factory=list)
    reason: str = ""

    def last(self, kind: str) -> Event | None:
        """The last event of a kind."""
        return next((event for event in reversed(self.events) if event["event"] == kind), None)

    def all(self, kind: str) -> list[Event]:
        """All events of a kind, in order."""
        return [event for event in self.events if event["event"] == kind]


class Nursery:
    """Where fresh processes come from, one per request and one at a time; a context, which ends them all."""

    def __init__(self) -> None:
        self._server: subprocess.Popen[bytes] | None = None
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115  closed on leaving

    def __enter__(self) -> "Nursery":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end()
        self._errors.close()

    def run(self, request: Request, watch: Callable[[Event], object] = lambda event: None) -> Outcome:
        """Carry out a request in a fresh process; `watch` sees every event as it comes.

        Raises nothing that happens inside the child: one killed by the system is an outcome.
        """
        outcome, code = Outcome("ok"), None
        server = self._started()
        assert server.stdin is not None
        assert server.stdout is not None
        told = self._errors.seek(0, os.SEEK_END)
        with suppress(BrokenPipeError):  # it died at birth; its exit code says how
            pickle.dump(request, server.stdin)
            server.stdin.flush()
        for line in server.stdout:
            event = json.loads(line)
            if event["event"] == "exit":
                code = event["code"]
                break
            outcome.events.append(event)
            watch(event)
        if code is None:
            code = server.wait()
        self._errors.seek(told)
        _judge(outcome, code, self._errors.read().decode("utf-8", "replace"))
        return outcome

    def _started(self) -> "subprocess.Popen[bytes]":
        """The process that is asked, a new one where there is none."""
        if self._server is not None and self._server.poll() is None and sys.platform == "linux":
            return self._server
        self._end()
        self._server = subprocess.Popen(
            COMMAND,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            env=child_environment(),
            start_new_session=True,  # the terminal's Ctrl-C is for the parent; in a child SIGINT marks the ceiling
        )
        return self._server

    def _end(self) -> None:
        if self._server is None:
            return
        if sys.platform == "win32":
            self._server.kill()
        else:
            with suppress(ProcessLookupError):
                os.killpg(self._server.pid, signal.SIGKILL)  # a forked child is of the same group
        self._server.wait()
        for pipe in (self._server.stdin, self._server.stdout):
            if pipe is not None:
                with suppress(BrokenPipeError):
                    pipe.close()
        self._server = None


def _judge(outcome: Outcome, code: int, errors: str) -> None:
    """Set status and reason from how the child ended."""
    stopped = [event.get("oom") or event.get("reason") for event in outcome.events if event["event"] in STOPS]
    if error := outcome.last("error"):
        outcome.status, outcome.reason = "failed", error["message"]
    elif code == KILLED:
        outcome.status, outcome.reason = "oom", "killed by the system, as it does when memory is short"
    elif code != 0:
        lines = [line for line in errors.splitlines() if line.strip()]
        outcome.status, outcome.reason = "failed", f"exit code {code}: {lines[-1] if lines else 'no message'}"
    elif any(stopped):
        outcome.status, outcome.reason = "oom", next(filter(None, stopped))
