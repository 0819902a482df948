"""Soft aggregation of per-object probabilities, and conversion between probabilities and masks."""

import math
from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ..types import ObjectConfidence

# The published code clamps probabilities to [1e-7, 1 - 1e-7] before taking their log-odds.
MAX_LOG_ODDS = math.log1p(-1e-7) - math.log(1e-7)


def aggregate_logits(logits: Tensor, dim: int = 1) -> tuple[Tensor, Tensor]:
    """Combine independent per-object logits by soft aggregation.

    The probability of the background is prod(1 - p). It is computed in log space, because the published order of
    operations (probability, clamp, log-odds) loses all digits near saturation in float32.

    Args:
        logits: (..., O, ...) float32 or float64, with the objects on axis `dim`.
        dim: Axis of the objects.

    Returns:
        Log-odds and probabilities, each with O + 1 entries on axis `dim`, the background first.
    """
    if logits.shape[dim] == 1:
        background = -logits  # 1 - p
    else:
        log_background = F.logsigmoid(-logits).sum(dim, keepdim=True)  # log prod(1 - p)
        background = log_background - torch.log(-torch.expm1(log_background.clamp(max=-1e-7)))
    odds = torch.cat([background, logits], dim).clamp(-MAX_LOG_ODDS, MAX_LOG_ODDS)
    return odds, odds.softmax(dim)


def aggregate(prob: Tensor, dim: int = 0) -> Tensor:
    """Combine per-object probabilities in [0, 1] by soft aggregation: (..., O, ...) -> (..., O + 1, ...)."""
    prob = torch.cat([(1 - prob).prod(dim, keepdim=True), prob], dim)
    return torch.logit(prob).clamp(-MAX_LOG_ODDS, MAX_LOG_ODDS).softmax(dim)


def remove_objects(prob: Tensor, slots: Sequence[int]) -> Tensor:
    """Remove the objects in these slots from probabilities (O + 1, H, W), background first, and renormalise.

    The ratios between the remaining probabilities do not change, which is soft aggregation of the remaining objects.
    """
    prob = prob.clone()
    prob[[slot + 1 for slot in slots]] = 0
    prob[0] += 1e-7  # avoids 0 / 0 where a removed object had probability 1
    return prob / prob.sum(0)


def one_hot(labels: Tensor, values: list[int]) -> Tensor:
    """Convert a label image (H, W) to (len(values), H, W) float32: 1 where a pixel has that value, else 0."""
    channels = torch.tensor(values, dtype=labels.dtype, device=labels.device)
    return (labels == channels[:, None, None]).float()


def most_probable(prob: Tensor, object_ids: Sequence[int]) -> tuple[np.ndarray, dict[int, ObjectConfidence]]:
    """Return the most probable object of each pixel, (H, W) uint8 ids, and the confidence of each object.

    If probabilities are equal, the first channel wins.

    Args:
        prob: (O + 1, H, W) probabilities, the background first.
        object_ids: Ids of the other channels.
    """
    best = prob.amax(0)
    mask = torch.zeros(best.shape, dtype=torch.uint8, device=prob.device)
    # Channel by channel from the last to the first, which is several times as fast as argmax over the channels.
    for object_id, channel in reversed([*zip([0, *object_ids], prob, strict=True)]):
        mask.masked_fill_(channel == best, object_id)
    inside = [mask == object_id for object_id in object_ids]
    # Stacked, so that the host waits for the device only twice and not twice per object.
    areas = torch.stack([pixels.sum() for pixels in inside]).tolist() if inside else []
    sums = torch.stack([(best * pixels).sum() for pixels in inside]).tolist() if inside else []
    totals = zip(object_ids, areas, sums, strict=True)
    return mask.cpu().numpy(), {object_id: _confidence(area, total) for object_id, area, total in totals}


def confidence_inside(prob: Tensor, object_ids: Sequence[int], mask: np.ndarray) -> dict[int, ObjectConfidence]:
    """Return the confidence of each object inside a given mask (H, W) uint8; prob (O + 1, H, W)."""
    given = torch.from_numpy(mask).to(prob.device)
    confidence = {}
    for channel, object_id in enumerate(object_ids, start=1):
        pixels = prob[channel][given == object_id]
        confidence[object_id] = _confidence(pixels.numel(), float(pixels.sum()))
    return confidence


def _confidence(area_px: int, total: float) -> ObjectConfidence:
    return ObjectConfidence(area_px, min(1.0, total / area_px) if area_px else 0.0, lost=area_px == 0)
