"""Data classes for a pass over a video, the prediction for a frame, and the results."""

from collections.abc import Generator, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from .errors import UsageError
from .io.frames import FrameSource
from .io.listing import name_some
from .ops.images import resize
from .types import Frame, LabelMask, ObjectConfidence


@dataclass(frozen=True)
class Pass:
    """One pass over a video; test-time augmentation makes several passes of different size or orientation."""

    frames: FrameSource  # at any resolution
    masks: Mapping[str, LabelMask]  # the given masks by frame name, at the resolution of the frames
    size: int  # short side in px at which the network processes the frames; -1 = original size
    flipped: bool = False  # whether frames and masks are flipped horizontally for the network


@dataclass(frozen=True)
class Prediction:
    """The prediction of one pass for one frame."""

    prob: Tensor  # (O + 1, H', W') float32 probabilities at the working size, background first
    flipped: bool  # whether `prob` is flipped horizontally
    object_ids: tuple[int, ...]  # of the channels after the background
    complete: bool  # whether a given mask annotates every object, so that nothing was predicted
    stage_ms: dict[str, float] = field(repr=False)  # duration of the stages `upload` and `segment` in milliseconds


@dataclass(frozen=True)
class FrameResult:
    """The result for one frame.

    Attributes:
        frame: The frame.
        mask: (H, W) uint8 object id of each pixel at the original size of the frame, 0 = background.
        object_ids: Ids of all objects known so far, in the order of the channels of `probabilities`.
        confidence: Confidence by object id.
        stage_ms: Duration of the stages `read`, `upload`, `segment` and `post` in milliseconds.
        working_prob: (O + 1, H', W') float32 probabilities at the working size, background first.
        given: Whether a mask was given that annotates every object; `mask` is then this mask, unchanged.
    """

    frame: Frame
    mask: np.ndarray
    object_ids: tuple[int, ...]
    confidence: dict[int, ObjectConfidence]
    stage_ms: dict[str, float] = field(repr=False)
    working_prob: Tensor = field(repr=False)
    given: bool = False

    def __repr__(self) -> str:
        areas = {object_id: confidence.area_px for object_id, confidence in self.confidence.items()}
        return f"FrameResult({self.frame!r}, pixels by object {areas}{', given' if self.given else ''})"

    def probabilities(self) -> np.ndarray:
        """Return the probabilities at the original size of the frame.

        Returns:
            (O + 1, H, W) float32, the background first, then the objects in the order of `object_ids`. If `given`,
            they are 0 and 1 according to the mask.
        """
        if self.given:
            values = np.array([0, *self.object_ids], np.uint8)
            return (self.mask == values[:, None, None]).astype(np.float32)
        height, width = self.mask.shape
        with torch.no_grad():
            return resize(self.working_prob, (height, width)).float().cpu().numpy()


class Results(Iterator[FrameResult]):
    """An iterator over the results of a video's frames, each computed when it is requested.

    `len` returns the number of frames, or raises TypeError if the source does not declare it. `close` stops the
    computation early.
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
        """Stop the computation and discard frames that have been read ahead."""
        self._stream.close()


def all_reached(stream: Generator[FrameResult, None, None], names: set[str]) -> Generator[FrameResult, None, None]:
    """Yield all results, then raise UsageError if any of the frames in `names` was not among them."""
    with closing(stream):
        for result in stream:
            names.discard(result.frame.name)
            yield result
    if names:
        raise UsageError(f"the video ended before frames that were named for masks: {name_some(sorted(names))}")
