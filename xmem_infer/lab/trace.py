"""The way of one frame, and of the first mask, through this package: which functions in which files they pass.

`python -m xmem_infer.lab.trace` runs `scripts/eval.py` on the example clip and prints both. Rule of counting:

- A function counts, once, where an array or tensor is among what it is given or returns (`self` aside), and where it
  is on the call stack of one that does.
- Constructors, properties, context managers and nested functions belong to what calls them. Of a network the verbs
  count, not what happens inside them.
- The frame is an ordinary one, and its trip ends at its PNG. The mask's trip ends where its value is in memory; what
  works on the picture alone there is part of the frame's trip only.
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
ORDINARY = 2  # neither the first frame nor one to remember
OF_THE_PICTURE = ("read_ahead", "normalise", "resize", "encode_image", "empty_state")
OF_OTHER_FILES = ("ConfidenceTable", "DriftWatch", "mean_keys", "_centre")  # classes and functions
NOT_COUNTED = ("<", "__init__", "__post_init__", "__enter__", "__exit__", "full_precision")
ARGUMENTS = (
    "video_dir=examples/clip", "data.size=96", "runtime.precision=fp32", "runtime.variant=fast", "score=false",
    "output.overlay=false", "output.preview=false",
)  # fmt: skip


class Trace:
    """A profile function that notes what array data passes, by thread and frame."""

    def __init__(self) -> None:
        self.here = threading.local()  # index: of the frame that this thread saw last
        self.remembered = False
        self.frame: dict[CodeType, None] = {}
        self.mask: dict[CodeType, None] = {}

    def __call__(self, frame: FrameType, event: str, result: Any) -> None:
        """See `sys.setprofile`."""
        if event not in ("call", "return") or not _is_own(frame.f_code):
            return
        values = [result] if event == "return" else [x for name, x in frame.f_locals.items() if name != "self"]
        seen = [part for value in values for part in (value if isinstance(value, tuple) else (value,))]
        self.here.index = next((part.index for part in seen if isinstance(part, Frame)), self.index())
        if event == "return" and frame.f_code.co_name == "add":
            self.remembered = True
        # Before the first frame tensors are weights; masks are arrays.
        if not any(carries(value, np.ndarray if self.index() is None else (np.ndarray, Tensor)) for value in values):
            return
        if self.index() == ORDINARY:
            self.frame.update(dict.fromkeys(_stack(frame)))
        elif threading.current_thread() is threading.main_thread() and not self.remembered:
            self.mask.update({code: None for code in _stack(frame) if code.co_name not in OF_THE_PICTURE})

    def index(self) -> int | None:
        """Of the frame that this thread saw last."""
        return getattr(self.here, "index", None)


def carries(value: Any, kinds: Any, depth: int = 4) -> bool:
    """Whether a value is an array of these kinds, or a collection or record that holds one."""
    if isinstance(value, kinds):
        return bool(value.ndim)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        value = vars(value)
    parts = value.values() if isinstance(value, dict) else value if isinstance(value, list | tuple) else ()
    return depth > 0 and any(carries(part, kinds, depth - 1) for part in parts)


def trips() -> dict[str, list[str]]:
    """Both trips, as `file: function` in the order of the first visit."""
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
    found = {"an ordinary frame, to its PNG": trace.frame, "the first mask, to memory": trace.mask}
    return {
        title: [f"{Path(code.co_filename).relative_to(ROOT)}: {code.co_name}" for code in trip]
        for title, trip in found.items()
    }


def _is_own(code: CodeType) -> bool:
    path = Path(code.co_filename)
    return path.is_relative_to(ROOT) and not {"lab", ".venv"} & set(path.parts)


def _stack(frame: FrameType | None) -> list[CodeType]:
    """The functions from `scripts/eval.py` to here that count, first one first."""
    frames: list[FrameType] = []
    while frame is not None:
        if "importlib" in frame.f_code.co_filename:  # a module being read: on nobody's way
            return []
        frames.append(frame)
        frame = frame.f_back
    found: list[CodeType] = []
    in_network = False
    for one in reversed(frames):
        code, own = one.f_code, one.f_locals.get("self")
        if in_network:
            break
        in_network = in_network or isinstance(own, nn.Module)
        is_script = code.co_name == "<module>" and "scripts" in code.co_filename
        counts = is_script or not (code.co_name.startswith(NOT_COUNTED) or code.co_flags & CO_NESTED)
        of_other_files = {type(own).__name__, code.co_name} & set(OF_OTHER_FILES)
        if _is_own(code) and counts and not of_other_files and not _is_property(own, code):
            found.append(code)
    return found


def _is_property(own: object, code: CodeType) -> bool:
    return isinstance(getattr(type(own), code.co_name, None), property)


def main() -> None:
    """Print both trips."""
    for title, trip in trips().items():
        files = {line.partition(":")[0] for line in trip}
        print(f"{title}: {len(trip)} calls through {len(files)} files")
        for line in trip:
            print(f"  {line}")


if __name__ == "__main__":
    main()
