"""What comes out per frame: mask, confidence, probabilities on demand."""

from collections.abc import Generator, Iterator
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from .ops.images import resize
from .types import Frame, ObjectConfidence


@dataclass(frozen=True)
class FrameResult:
    """One segmented frame.

    Attributes:
        frame: The picture.
        mask: (H, W) uint8 at the frame's own size, the object id of each pixel, 0 = background.
        object_ids: The ids known so far, in slot order.
        confidence: By object id.
        stage_ms: Milliseconds spent on `read`, `upload`, `segment` and `post`.
        given: Whether the mask was given for every object, and comes back as it is.
    """

    frame: Frame
    mask: np.ndarray
    object_ids: tuple[int, ...]
    confidence: dict[int, ObjectConfidence]
    stage_ms: dict[str, float] = field(repr=False)
    _prob: Tensor = field(repr=False)
    given: bool = False

    def __repr__(self) -> str:
        areas = {object_id: found.area_px for object_id, found in self.confidence.items()}
        return f"FrameResult({self.frame!r}, pixels by object {areas}{', given' if self.given else ''})"

    def probabilities(self) -> np.ndarray:
        """(O + 1, H, W) float32 at the frame's own size, background first, then as `object_ids`.

        Of a given mask these are the mask's own 0 and 1.
        """
        if self.given:
            values = np.array([0, *self.object_ids], np.uint8)
            return (self.mask == values[:, None, None]).astype(np.float32)
        height, width = self.mask.shape
        with torch.no_grad():
            return resize(self._prob, (height, width)).float().cpu().numpy()


class Results(Iterator[FrameResult]):
    """The results of a video's frames, each as soon as it is known.

    `close` stops the work. `len` is the number of frames, where the source tells it; TypeError otherwise.
    """

    def __init__(self, stream: Generator[FrameResult, None, None], count: int | None):
        self._stream, self._count = stream, count

    def __next__(self) -> FrameResult:
        return next(self._stream)

    def __len__(self) -> int:
        if self._count is None:
            raise TypeError("the number of frames is not known before the video has ended")
        return self._count

    def close(self) -> None:
        """Stop; what has been read ahead is dropped."""
        self._stream.close()
