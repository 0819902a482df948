"""Progress of an interrupted video, saved so that the next run resumes it."""

import json
import logging
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from importlib import import_module
from pathlib import Path

import numpy as np
import torch

from .. import __version__
from ..engine.state import VideoState
from ..io.atomic import Staged
from ..outputs.files import read_confidence
from ..outputs.writer import VideoWriter, redrawable
from ..results import FrameResult
from ..scoring.pairing import read_ids
from ..types import Frame, ObjectConfidence
from .records import Record

log = logging.getLogger(__name__)

SAVED_OUTPUTS = ("confidence", "masks")


@dataclass
class SavedProgress:
    """The saved first `record.frames` frames of a video."""

    folder: Path
    record: Record
    states: list[VideoState]  # after these frames, one per pass
    confidence: dict[str, dict[int, ObjectConfidence]]  # by frame name and object id

    def result(self, frame: Frame) -> FrameResult | None:
        """Return the saved result of a frame, with an all-zero mask if none was saved; None if it was not reached."""
        if frame.index >= self.record.frames:
            return None
        path = self.folder / "masks" / f"{frame.name}.png"
        mask = read_ids(path) if path.exists() else np.zeros(frame.image.shape[:2], np.uint8)
        confidence = self.confidence.get(frame.name, {})
        return FrameResult(frame, mask, tuple(confidence), confidence, {}, torch.empty(0), True)


def save_progress(folder: Path, record: Record, writer: VideoWriter, frames: int, states: Sequence[VideoState]) -> bool:
    """Save the outputs of the first `frames` frames and the states after them, atomically; the writer takes no more.

    Returns whether they were saved: not if an output can neither be saved nor redrawn, nor if writing fails (logged).
    """
    if writer.outputs.keys() - redrawable(writer.outputs) != set(SAVED_OUTPUTS):
        return False
    staged = Staged(folder)
    try:
        staged.prepare()
        staged.partial.mkdir()
        writer.wait()
        for name in SAVED_OUTPUTS:
            output = writer.outputs[name]
            if output.staged.partial.exists():
                output.finish()
                output.staged.partial.rename(staged.partial / name)
        for state in states:
            state.detach()
        torch.save({"version": __version__, "states": list(states)}, staged.partial / "states.pt")
        (staged.partial / "record.json").write_text(json.dumps({**asdict(record), "frames": frames}), encoding="utf-8")
        staged.publish()
    except (OSError, RuntimeError) as error:  # torch.save raises RuntimeError if the disk is full
        log.info(f"{writer.video}: its first {frames} frames could not be saved: {error}")
        return False
    finally:
        staged.discard()
    return True


def load_progress(folder: Path, wanted: Record, device: torch.device) -> SavedProgress | None:
    """Return the progress that an earlier run saved in `folder`, which is named after the video, or None.

    Progress that is damaged or has other inputs, weights or settings than `wanted` is ignored, which is logged.
    """
    with suppress(OSError):
        Staged(folder).restore()
    if not folder.is_dir():
        return None
    try:
        record = Record(**json.loads((folder / "record.json").read_text(encoding="utf-8")))
        if (record.inputs, record.weights, record.settings) != (wanted.inputs, wanted.weights, wanted.settings):
            raise ValueError("it is of another video or another run")
        table = folder / "confidence"
        confidence = read_confidence(table) if table.exists() else {}
        progress = SavedProgress(folder, record, _load_states(folder / "states.pt", device), confidence)
    except Exception:  # damaged files raise many kinds of errors
        log.info(f"{folder.name}: restarted from its first frame")
        return None
    log.info(f"{folder.name}: resumes after {record.frames} frames")
    return progress


def remove_progress(folder: Path) -> None:
    """Delete the saved progress by a rename first, so that a half-deleted one is never resumed from. Raises OSError."""
    Staged(folder).withdraw()
    if folder.parent.is_dir() and not any(folder.parent.iterdir()):
        folder.parent.rmdir()


def _load_states(path: Path, device: torch.device) -> list[VideoState]:
    """Unpickle states, allowing only classes of this package."""
    classes = []
    for name in torch.serialization.get_unsafe_globals_in_checkpoint(path):
        module, _, member = name.rpartition(".")
        if module.partition(".")[0] != __name__.partition(".")[0]:
            raise ValueError(f"{name} is not of this package")
        classes.append(getattr(import_module(module), member))
        if not isinstance(classes[-1], type):
            raise ValueError(f"{name} is not a class")
    with torch.serialization.safe_globals(classes):
        content = torch.load(path, map_location=device, weights_only=True)
    if content["version"] != __version__:
        raise ValueError(f"version {content['version']}")
    states: list[VideoState] = content["states"]
    return states
