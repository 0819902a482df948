"""What comes out per frame: mask, confidence, probabilities on demand."""

from collections.abc import Generator, Iterator, Sequence
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


def most_probable(prob: Tensor, object_ids: Sequence[int]) -> tuple[np.ndarray, dict[int, ObjectConfidence]]:
    """The most probable object of each pixel, (H, W) uint8, and confidence; prob (O + 1, H, W), background first.

    Of equal probabilities the first one wins.
    """
    best = prob.amax(0)
    mask = torch.zeros(best.shape, dtype=torch.uint8, device=prob.device)
    # Plane by plane, last one first: an index of the maximum over interleaved planes takes several times as long.
    for object_id, plane in reversed([*zip([0, *object_ids], prob, strict=True)]):
        mask.masked_fill_(plane == best, object_id)
    inside = [mask == object_id for object_id in object_ids]
    # Stacked, so that a device is waited for twice and not twice for each object.
    areas = torch.stack([pixels.sum() for pixels in inside]).tolist() if inside else []
    sums = torch.stack([(best * pixels).sum() for pixels in inside]).tolist() if inside else []
    found = zip(object_ids, areas, sums, strict=True)
    return mask.cpu().numpy(), {object_id: _confidence(area, total) for object_id, area, total in found}


def confidence_inside(prob: Tensor, object_ids: Sequence[int], mask: np.ndarray) -> dict[int, ObjectConfidence]:
    """Confidence inside a mask (H, W) uint8 that was given rather than predicted; prob (O + 1, H, W)."""
    given = torch.from_numpy(mask).to(prob.device)
    found = {}
    for slot, object_id in enumerate(object_ids, start=1):
        pixels = prob[slot][given == object_id]
        found[object_id] = _confidence(pixels.numel(), float(pixels.sum()))
    return found


def _confidence(area_px: int, total: float) -> ObjectConfidence:
    return ObjectConfidence(area_px, min(1.0, total / area_px) if area_px else 0.0, lost=area_px == 0)
