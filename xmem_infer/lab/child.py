"""Measurements in fresh processes: one function in a new interpreter, its events as JSON lines, its end as a status.

The parent calls `run_in_child(function, request)`. The child, `python -m xmem_infer.lab.child module:function`,
reads the request from stdin and calls the function with it and with `tell`, which sends an event to the parent.
"""

import importlib
import json
import os
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from enum import Enum
from pathlib import Path
from typing import Any, get_type_hints

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
    function: Callable[[Any, Tell], None], request: Any, watch: Callable[[Event], object] = lambda event: None
) -> Outcome:
    """Run a function in a fresh process.

    Args:
        function: At the top level of its module; takes the request and `tell`.
        request: A dataclass of plain values, enums, paths and such dataclasses. Where it has `threads`, an int,
            the child computes with so many.
        watch: Sees every event as it comes. What it raises ends the child and is raised here.

    Returns:
        How the child ended. Nothing that happens inside it is raised: one killed by the system is an `oom`.
    """
    outcome = Outcome("ok")
    command = [sys.executable, "-m", "xmem_infer.lab.child", f"{function.__module__}:{function.__qualname__}"]
    # A session of its own: the terminal's Ctrl-C is for the parent; in a child SIGINT marks the memory ceiling.
    with (
        tempfile.TemporaryFile() as errors,
        subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, env=child_environment(),
            start_new_session=True,
        ) as child,
    ):  # fmt: skip
        try:
            assert child.stdin is not None and child.stdout is not None
            with suppress(BrokenPipeError):  # it died at its start; its exit code tells how
                child.stdin.write(json.dumps(asdict(request), default=_plain).encode())
                child.stdin.close()
            for line in child.stdout:
                outcome.events.append(json.loads(line))
                watch(outcome.events[-1])
        except BaseException:
            child.kill()
            raise
        code = child.wait()
        errors.seek(0)
        _set_status(outcome, code, errors.read().decode("utf-8", "replace"))
    return outcome


def child_environment() -> dict[str, str]:
    """This process's environment, in which a child finds this very package, installed or not."""
    root = str(Path(__file__).resolve().parents[2])
    return {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH")]))}


def _set_status(outcome: Outcome, code: int, errors: str) -> None:
    """Any event may carry `oom`: why its work stopped for lack of memory."""
    stopped = next((event["oom"] for event in outcome.events if event.get("oom")), "")
    if error := outcome.last("error"):
        outcome.status, outcome.reason = "failed", error["message"]
    elif code == KILLED:
        outcome.status, outcome.reason = "oom", "killed by the system, as it does when memory is short"
    elif code != 0:
        lines = [line for line in errors.splitlines() if line.strip()]
        outcome.status, outcome.reason = "failed", f"exit code {code}: {lines[-1] if lines else 'no message'}"
    elif stopped:
        outcome.status, outcome.reason = "oom", stopped


def main() -> int:
    """The child's side: read the request, call the function, report how it ended."""
    # What libraries print must not get between the lines of the report.
    report = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)

    def tell(event: str, **fields: Any) -> None:
        report.write(json.dumps({"event": event, **fields}) + "\n")
        report.flush()

    import torch
    from omegaconf import OmegaConf

    from xmem_infer.errors import XMemInferError
    from xmem_infer.lab.resident import CeilingReached

    tell("started", pid=os.getpid())
    module, _, name = sys.argv[1].partition(":")
    function = getattr(importlib.import_module(module), name)
    try:
        schema = get_type_hints(function)["request"]
        values: Mapping[str, Any] = json.load(sys.stdin)
        request = OmegaConf.to_object(OmegaConf.merge(OmegaConf.structured(schema), values))
        if threads := getattr(request, "threads", None):
            torch.set_num_threads(threads)
        function(request, tell)
    except CeilingReached:
        tell("stopped", oom="stopped at the memory ceiling")
    except (torch.OutOfMemoryError, MemoryError) as error:
        tell("stopped", oom=str(error).partition("\n")[0] or "out of memory")
    except XMemInferError as error:
        tell("error", message=str(error))
    except Exception:
        traceback.print_exc()
        return 1
    return 0


def _plain(value: object) -> str:
    return value.name if isinstance(value, Enum) else str(value)


if __name__ == "__main__":
    sys.exit(main())
