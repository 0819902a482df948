"""Results that wait for their turn on disk, so that memory stays flat however long a video is."""

from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch

from ..results import FrameResult


class WaitingResults:
    """Results by the index of their frame: masks as they are, probabilities in 8 bits, no pictures. To be closed."""

    def __init__(self) -> None:
        self._waiting: dict[int, FrameResult] = {}
        self._folder = TemporaryDirectory(prefix="xmem-infer-")

    def __contains__(self, index: int) -> bool:
        return index in self._waiting

    def put(self, result: FrameResult) -> None:
        """Put a result aside."""
        prob = (result.working_prob.float() * 255).round().byte().cpu().numpy()
        np.savez_compressed(self._path(result.frame.index), mask=result.mask, prob=prob)
        nothing = np.empty(0, np.uint8)
        frame = replace(result.frame, image=nothing)
        self._waiting[result.frame.index] = replace(result, frame=frame, mask=nothing, working_prob=torch.empty(0))

    def take(self, index: int) -> FrameResult:
        """Take a result back, without its picture; its probabilities are float32, in steps of 1 / 255."""
        with np.load(self._path(index)) as file:
            mask, prob = file["mask"], torch.from_numpy(file["prob"]).float() / 255
        self._path(index).unlink()
        return replace(self._waiting.pop(index), mask=mask, working_prob=prob)

    def close(self) -> None:
        """Remove what is left."""
        self._folder.cleanup()

    def _path(self, index: int) -> Path:
        return Path(self._folder.name, f"{index}.npz")
