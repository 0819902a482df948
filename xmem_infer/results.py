"""What goes into a pass over a video, what the network gives for a frame, and what comes out."""

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
    """One way to look at a video.

    Attributes:
        frames: The frames, at any resolution.
        masks: Given masks at that resolution, by frame name.
        size: Short side inside the network in px, -1 = original.
        flipped: Whether the network sees frames and masks mirrored left to right.
    """

    frames: FrameSource
    masks: Mapping[str, LabelMask]
    size: int
    flipped: bool = False


@dataclass(frozen=True)
class Prediction:
    """One frame as the network sees it.

    Attributes:
        prob: (O + 1, H', W') float32 at the working size, background first.
        flipped: Whether `prob` is mirrored left to right.
        object_ids: The ids of the other channels.
        complete: Whether the given mask speaks for every object, so that nothing was predicted.
        stage_ms: Milliseconds spent on `upload` and `segment`.
    """

    prob: Tensor
    flipped: bool
    object_ids: tuple[int, ...]
    complete: bool
    stage_ms: dict[str, float] = field(repr=False)


@dataclass(frozen=True)
class FrameResult:
    """One segmented frame.

    Attributes:
        frame: The picture.
        mask: (H, W) uint8 at the frame's own size, the object id of each pixel, 0 = background.
        object_ids: The ids known so far, in slot order.
        confidence: By object id.
        stage_ms: Milliseconds spent on `read`, `upload`, `segment` and `post`.
        working_prob: (O + 1, H', W') float32 probabilities at the working size, background first.
        given: Whether the mask was given for every object, and comes back as it is.
    """

    frame: Frame
    mask: np.ndarray
    object_ids: tuple[int, ...]
    confidence: dict[int, ObjectConfidence]
    stage_ms: dict[str, float] = field(repr=False)
    working_prob: Tensor = field(repr=False)
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
            return resize(self.working_prob, (height, width)).float().cpu().numpy()


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


def all_reached(stream: Generator[FrameResult, None, None], names: set[str]) -> Generator[FrameResult, None, None]:
    """The results; UsageError at their end for frames named that were not among them."""
    with closing(stream):
        for result in stream:
            names.discard(result.frame.name)
            yield result
    if names:
        raise UsageError(f"the video ended before frames that were named for masks: {name_some(sorted(names))}")
