"""Real child processes: one that answers, one killed, one stopped at the ceiling, ones that fail, one interrupted."""

import os
import signal
import sys
from dataclasses import dataclass, field
from enum import Enum
from functools import partial
from pathlib import Path

import pytest
import torch

from xmem_infer.errors import UsageError
from xmem_infer.lab import child
from xmem_infer.lab.child import Outcome, run_in_child
from xmem_infer.lab.resident import ceiling

LINUX = pytest.mark.skipif(sys.platform != "linux", reason="resident memory is known exactly from /proc only")


class Ending(Enum):
    well = "well"
    killed = "killed"
    ceiling = "ceiling"
    known = "known error"
    unknown = "unknown error"
    waiting = "waiting"


@dataclass
class Inner:
    numbers: list[int] = field(default_factory=list)


@dataclass
class Request:
    ending: Ending
    path: Path
    inner: Inner


def work(request: Request, send: child.Send) -> None:
    print("what libraries print")
    threads = torch.get_num_threads()
    send("seen", path=str(request.path), kind=type(request).__name__, numbers=request.inner.numbers, threads=threads)
    match request.ending.name:
        case "killed":
            os.kill(os.getpid(), signal.SIGKILL)
        case "ceiling":
            with ceiling(10**6):
                while True:
                    torch.ones(10)
        case "known":
            raise UsageError("the file is not there")
        case "unknown":
            raise RuntimeError("something else")
        case "waiting":
            signal.pause()


@pytest.fixture(autouse=True)
def _importable(monkeypatch):
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")]))


def run(ending):
    return run_in_child(partial(work, Request(ending, Path("some/where"), Inner([1, 2]))), 1)


def test_a_child_gets_a_typed_request_and_answers():
    outcome = run(Ending.well)
    assert (outcome.status, outcome.reason) == ("ok", "")
    assert outcome.last("seen") == {
        "event": "seen", "path": "some/where", "kind": "Request", "numbers": [1, 2], "threads": 1,
    }  # fmt: skip
    assert outcome.last("started")["pid"] != os.getpid()
    assert outcome.last("nothing") is None


@pytest.mark.parametrize(
    ("ending", "status", "words"),
    [
        pytest.param(Ending.killed, "oom", "killed by the system", marks=pytest.mark.slow),
        pytest.param(Ending.ceiling, "oom", "memory ceiling", marks=[pytest.mark.slow, LINUX]),
        pytest.param(Ending.known, "failed", "the file is not there", marks=pytest.mark.slow),
        (Ending.unknown, "failed", "exit code 1: RuntimeError: something else"),
    ],
)
def test_how_a_child_ends_is_an_outcome(ending, status, words):
    outcome = run(ending)
    assert (outcome.status, len(outcome.all("seen"))) == (status, 1)
    assert words in outcome.reason


def test_a_signal_to_the_parent_ends_the_child(monkeypatch):
    outcomes = []
    monkeypatch.setattr(child, "Outcome", lambda status: outcomes.append(Outcome(status)) or outcomes[-1])

    def interrupt():
        if outcomes[0].last("seen"):
            raise KeyboardInterrupt

    monkeypatch.setattr(child, "check", interrupt)
    with pytest.raises(KeyboardInterrupt):
        run(Ending.waiting)
    with pytest.raises(ProcessLookupError):
        os.kill(outcomes[0].last("started")["pid"], 0)
