"""Trace which functions one frame, and the first mask, pass through in this package.

`python -m xmem_infer.lab.trace` runs `scripts/eval.py` on the example clip and prints both call lists. What counts:

- A function counts once if an array or tensor is among its arguments (except `self`) or in its return value, or if it
  is on the call stack of such a function.
- Constructors, properties, context managers and nested functions count as part of their caller. Of a network, only
  the methods called from outside count.
- The frame is an ordinary one, and its trace ends at its PNG. The trace of the mask ends when its value is in memory;
  functions that only process the image are left out of it.
"""

import dataclasses
import runpy
import sys
import tempfile
import threading
from inspect import CO_NESTED
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

import numpy as np
from torch import Tensor, nn

from ..types import Frame

ROOT = Path(__file__).resolve().parents[2]
ORDINARY = 2  # index of the traced frame: neither the first one nor a memory frame
IMAGE_ONLY = ("read_ahead", "normalise", "resize", "encode_image", "empty_state")  # left out of the mask's trace
OTHER_OUTPUTS = ("ConfidenceTable", "DriftWatch", "mean_keys", "_centre")  # classes and functions, left out of both
NOT_COUNTED = ("<", "__init__", "__post_init__", "__enter__", "__exit__", "full_precision")  # beginnings of names
ARGUMENTS = (
    "video_dir=examples/clip", "data.size=96", "runtime.precision=fp32", "runtime.variant=fast", "score=false",
    "output.overlay=false", "output.preview=false",
)  # fmt: skip


class Trace:
    """A profile function that records the functions that array data passes through, by thread and frame."""

    def __init__(self) -> None:
        self.thread = threading.local()  # index: of the last frame that this thread handled
        self.stored = False  # whether the first mask's value is in memory
        self.frame: dict[CodeType, None] = {}
        self.mask: dict[CodeType, None] = {}

    def __call__(self, frame: FrameType, event: str, result: Any) -> None:
        """See `sys.setprofile`."""
        if event not in ("call", "return") or not _is_own(frame.f_code):
            return
        values = [result] if event == "return" else [x for name, x in frame.f_locals.items() if name != "self"]
        seen = [part for value in values for part in (value if isinstance(value, tuple) else (value,))]
        self.thread.index = next((part.index for part in seen if isinstance(part, Frame)), self.index())
        if event == "return" and frame.f_code.co_name == "add":
            self.stored = True
        # Before the first frame, tensors are weights and do not count; masks are arrays.
        types = np.ndarray if self.index() is None else (np.ndarray, Tensor)
        if not any(contains_array(value, types) for value in values):
            return
        if self.index() == ORDINARY:
            self.frame.update(dict.fromkeys(_stack(frame)))
        elif threading.current_thread() is threading.main_thread() and not self.stored:
            self.mask.update({code: None for code in _stack(frame) if code.co_name not in IMAGE_ONLY})

    def index(self) -> int | None:
        """Return the index of the last frame that this thread handled, or None."""
        return getattr(self.thread, "index", None)


def contains_array(value: Any, types: Any, depth: int = 4) -> bool:
    """Check whether a value is an array of these types, or a collection or record that contains one."""
    if isinstance(value, types):
        return bool(value.ndim)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        value = vars(value)
    parts = value.values() if isinstance(value, dict) else value if isinstance(value, list | tuple) else ()
    return depth > 0 and any(contains_array(part, types, depth - 1) for part in parts)


def trips() -> dict[str, list[str]]:
    """Return both traces as `file: function`, in the order of the first call."""
    trace, arguments = Trace(), sys.argv
    with tempfile.TemporaryDirectory() as folder:
        sys.argv = ["eval.py", *ARGUMENTS, f"output_dir={folder}"]
        threading.setprofile(trace)
        sys.setprofile(trace)
        try:
            runpy.run_path(str(ROOT / "scripts" / "eval.py"), run_name="__main__")
        except SystemExit:
            pass
        finally:
            sys.setprofile(None)
            threading.setprofile(None)
            sys.argv = arguments
    calls = {"an ordinary frame, to its PNG": trace.frame, "the first mask, to memory": trace.mask}
    return {
        title: [f"{Path(code.co_filename).relative_to(ROOT)}: {code.co_name}" for code in codes]
        for title, codes in calls.items()
    }


def _is_own(code: CodeType) -> bool:
    path = Path(code.co_filename)
    return path.is_relative_to(ROOT) and not {"lab", ".venv"} & set(path.parts)


def _stack(frame: FrameType | None) -> list[CodeType]:
    """Return the functions that count from `scripts/eval.py` to this frame, outermost first."""
    frames: list[FrameType] = []
    while frame is not None:
        if "importlib" in frame.f_code.co_filename:  # code that runs because a module is imported
            return []
        frames.append(frame)
        frame = frame.f_back
    counted: list[CodeType] = []
    in_network = False
    for caller in reversed(frames):
        code, own = caller.f_code, caller.f_locals.get("self")
        if in_network:
            break
        in_network = in_network or isinstance(own, nn.Module)
        is_script = code.co_name == "<module>" and "scripts" in code.co_filename
        counts = is_script or not (code.co_name.startswith(NOT_COUNTED) or code.co_flags & CO_NESTED)
        is_other = {type(own).__name__, code.co_name} & set(OTHER_OUTPUTS)
        is_property = isinstance(getattr(type(own), code.co_name, None), property)
        if _is_own(code) and counts and not is_other and not is_property:
            counted.append(code)
    return counted


def main() -> None:
    """Print both traces."""
    for title, calls in trips().items():
        files = {line.partition(":")[0] for line in calls}
        print(f"{title}: {len(calls)} calls through {len(files)} files")
        print(*(f"  {line}" for line in calls), sep="\n")


if __name__ == "__main__":
    main()
