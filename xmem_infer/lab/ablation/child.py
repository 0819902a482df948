"""The child's side: requests from stdin, each in a fresh process, answered as JSON lines on stdout. See process.py.

Importing torch takes longer than most runs. So where processes can be forked safely (Linux), this process
imports, computes nothing, and forks one for each request: fresh in all that is measured, allocator included.
Elsewhere it carries out one request itself and ends.
"""

import json
import os
import pickle
import sys
import traceback
from collections.abc import Callable
from functools import partial
from typing import Any, TextIO

import torch

from ...errors import XMemInferError
from .creation import create
from .linear import linear_forward
from .requests import CreateRequest, LinearRequest, Request, SegmentRequest
from .resident import CeilingReached
from .segmenting import segment

Tell = Callable[..., None]


def main() -> None:
    """Serve until stdin ends; after each request tell `exit` with its exit code."""
    # What libraries print must not get between the lines of the report.
    report = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    tell = partial(_tell, report)
    fork = sys.platform == "linux"
    while True:
        try:
            request: Request = pickle.load(sys.stdin.buffer)
        except EOFError:
            return
        tell("exit", code=_in_fork(request, tell) if fork else answer(request, tell))
        if not fork:
            return


def answer(request: Request, tell: Tell) -> int:
    """Carry out a request in this process; returns its exit code."""
    tell("started", pid=os.getpid())
    if request.threads is not None:
        torch.set_num_threads(request.threads)
    try:
        if isinstance(request, SegmentRequest):
            segment(request, tell)
        elif isinstance(request, LinearRequest):
            linear_forward(request, tell)
        elif isinstance(request, CreateRequest):
            create(request, tell)
    except CeilingReached:
        tell("oom", reason="stopped at the memory ceiling")
    except (torch.OutOfMemoryError, MemoryError) as error:
        tell("oom", reason=str(error).partition("\n")[0] or "out of memory")
    except XMemInferError as error:
        tell("error", message=str(error))
        return 1
    except Exception:
        traceback.print_exc()
        return 1
    return 0


def _in_fork(request: Request, tell: Tell) -> int:
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            code = answer(request, tell)
        finally:
            sys.stderr.flush()
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def _tell(report: TextIO, event: str, **fields: Any) -> None:
    report.write(json.dumps({"event": event, **fields}) + "\n")
    report.flush()


if __name__ == "__main__":
    main()
