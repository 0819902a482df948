"""What comes out per frame: label mask, confidence, probabilities on demand."""

from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from .ops.images import resize
from .types import Frame, ObjectConfidence


@dataclass(frozen=True)
class FrameResult:
    """One segmented frame.

    labels (H, W) uint8 at the frame's own size, 0 = background; objects: the labels known so far, in slot
    order; confidence by label; stage_ms: where the time went (read, upload, segment, post). given: the mask
    was given for every object and comes back as it is.
    """

    frame: Frame
    labels: np.ndarray
    objects: tuple[int, ...]
    confidence: dict[int, ObjectConfidence]
    stage_ms: dict[str, float] = field(repr=False)
    _prob: Tensor = field(repr=False)
    given: bool = False

    def probabilities(self) -> np.ndarray:
        """(O + 1, H, W) float32 at the frame's own size, background first, then as `objects`."""
        height, width = self.labels.shape
        return self.probability_map((height, width)).cpu().numpy()

    def probability_map(self, size: tuple[int, int]) -> Tensor:
        """(O + 1, *size) float32 on the network's device, background first; straight from the working size."""
        with torch.no_grad():
            return resize(self._prob, size).float()


def read_labels(prob: Tensor, objects: list[int]) -> tuple[np.ndarray, dict[int, ObjectConfidence]]:
    """Most probable label of each pixel, (H, W) uint8, and confidence; prob (O + 1, H, W), background first.

    Of equal probabilities the first one wins.
    """
    best = prob.amax(0)
    labels = torch.zeros(best.shape, dtype=torch.uint8, device=prob.device)
    # Plane by plane, last one first: an index of the maximum over interleaved planes takes several times as long.
    for label, plane in reversed([*zip([0, *objects], prob, strict=True)]):
        labels.masked_fill_(plane == best, label)
    inside = [labels == label for label in objects]
    # Stacked, so that a device is waited for twice and not twice for each object.
    areas = torch.stack([pixels.sum() for pixels in inside]).tolist() if inside else []
    masses = torch.stack([(best * pixels).sum() for pixels in inside]).tolist() if inside else []
    confidence = {label: _confidence(*sums) for label, *sums in zip(objects, areas, masses, strict=True)}
    return labels.cpu().numpy(), confidence


def measure_given(prob: Tensor, objects: list[int], labels: np.ndarray) -> dict[int, ObjectConfidence]:
    """Confidence inside a mask that was given, (H, W) uint8, rather than predicted."""
    inside = torch.from_numpy(labels).to(prob.device)
    found = {}
    for slot, label in enumerate(objects, start=1):
        pixels = prob[slot][inside == label]
        found[label] = _confidence(pixels.numel(), float(pixels.sum()))
    return found


def _confidence(area_px: int, total: float) -> ObjectConfidence:
    return ObjectConfidence(area_px, min(1.0, total / area_px) if area_px else 0.0, lost=area_px == 0)
