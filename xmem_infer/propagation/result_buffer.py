"""A buffer of frame results on disk, so that memory use does not grow with the length of the video."""

from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch

from ..results import FrameResult


class ResultBuffer:
    """Frame results in temporary files, by frame index.

    Masks are stored losslessly, probabilities quantised to 8 bits, frame images not at all. Call `close` when done.
    """

    def __init__(self) -> None:
        self._entries: dict[int, FrameResult] = {}
        self._folder = TemporaryDirectory(prefix="xmem-infer-")

    def __contains__(self, index: int) -> bool:
        return index in self._entries

    def put(self, result: FrameResult) -> None:
        """Write a result to disk."""
        prob = (result.working_prob.float() * 255).round().byte().cpu().numpy()
        np.savez_compressed(self._path(result.frame.index), mask=result.mask, prob=prob)
        nothing = np.empty(0, np.uint8)
        frame = replace(result.frame, image=nothing)
        self._entries[result.frame.index] = replace(result, frame=frame, mask=nothing, working_prob=torch.empty(0))

    def take(self, index: int) -> FrameResult:
        """Return a result and remove it from the buffer.

        Its `frame.image` is empty, its `working_prob` float32 in steps of 1 / 255.
        """
        with np.load(self._path(index)) as file:
            mask, prob = file["mask"], torch.from_numpy(file["prob"]).float() / 255
        self._path(index).unlink()
        return replace(self._entries.pop(index), mask=mask, working_prob=prob)

    def close(self) -> None:
        """Delete the temporary files."""
        self._folder.cleanup()

    def _path(self, index: int) -> Path:
        return Path(self._folder.name, f"{index}.npz")
