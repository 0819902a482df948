"""A video that was stopped in the midst of it: what is done is kept, so that the next run goes on from there."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from importlib import import_module
from pathlib import Path

import numpy as np
import torch

from .. import __version__
from ..engine.state import VideoState
from ..io.atomic import Staged
from ..outputs.files import read_confidence
from ..outputs.writer import VideoWriter
from ..results import FrameResult
from ..scoring.pairing import read_ids
from ..types import Frame, ObjectConfidence
from .records import Record

KEPT = ("masks", "confidence")  # outputs from which the others of REMADE are made anew
REMADE = frozenset((*KEPT, "overlay", "preview"))


@dataclass
class Stopped:
    """What was kept of a video: its first `record.frames` frames, and the state behind them of each pass."""

    folder: Path
    record: Record
    states: list[VideoState]
    confidence: dict[str, dict[int, ObjectConfidence]] = field(repr=False)

    def result(self, frame: Frame) -> FrameResult | None:
        """The result of a frame that is done; None for later ones. The mask of one that is not saved is empty."""
        if frame.index >= self.record.frames:
            return None
        path = self.folder / "masks" / f"{frame.name}.png"
        mask = read_ids(path) if path.exists() else np.zeros(frame.image.shape[:2], np.uint8)
        confidence = self.confidence.get(frame.name, {})
        return FrameResult(frame, mask, tuple(confidence), confidence, {}, torch.empty(0), True)


def keep(folder: Path, record: Record, states: Sequence[VideoState], writer: VideoWriter) -> None:
    """Put what is written so far aside, whole or not at all; the writer is closed. Raises OSError."""
    staged = Staged(folder)
    try:
        staged.prepare()
        staged.partial.mkdir()
        writer.stop()
        if writer.error is not None:
            raise writer.error
        for output in writer.outputs:
            name = output.path.partition("/")[0]
            if name in KEPT and output.staged.partial.exists():
                output.finish()
                output.staged.partial.rename(staged.partial / name)
        for state in states:
            state.detach()
        torch.save({"version": __version__, "states": list(states)}, staged.partial / "states.pt")
        (staged.partial / "record.json").write_text(json.dumps(asdict(record)), encoding="utf-8")
        staged.publish()
    finally:
        staged.discard()


def kept(folder: Path, wanted: Record, device: torch.device) -> Stopped | None:
    """What `keep` put aside for the same inputs, weights and settings; None where nothing of that kind is whole."""
    try:
        record = Record(**json.loads((folder / "record.json").read_text(encoding="utf-8")))
        if (record.inputs, record.weights, record.settings) != (wanted.inputs, wanted.weights, wanted.settings):
            return None
        path = folder / "confidence"
        states = _load_states(folder / "states.pt", device)
        return Stopped(folder, record, states, read_confidence(path) if path.exists() else {})
    except Exception:  # by what is damaged, all kinds; then the video is begun anew
        return None


def forget(folder: Path) -> None:
    """Remove what was kept, at once: half of it would be gone on from as if it were whole. Raises OSError."""
    Staged(folder).withdraw()
    if folder.parent.is_dir() and not any(folder.parent.iterdir()):
        folder.parent.rmdir()


def _load_states(path: Path, device: torch.device) -> list[VideoState]:
    """Read states of this package's own classes, and nothing else that a pickle could ask for."""
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
