"""Probabilities of several objects that share one picture, and how they meet the background."""

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
    """Soft aggregation of independent per-object logits: log-odds and probabilities, background first.

    logits (..., O, ...) float32 or wider with objects on `dim` -> two tensors with O + 1 entries there.
    The background's probability is prod(1 - p). Computed in log space: the published order (probability,
    clamp, log-odds) keeps no digits near saturation in float32.
    """
    if logits.shape[dim] == 1:
        background = -logits  # 1 - p
    else:
        log_background = F.logsigmoid(-logits).sum(dim, keepdim=True)
        background = log_background - torch.log(-torch.expm1(log_background.clamp(max=-1e-7)))
    odds = torch.cat([background, logits], dim).clamp(-MAX_LOG_ODDS, MAX_LOG_ODDS)
    return odds, odds.softmax(dim)


def aggregate(prob: Tensor, dim: int = 0) -> Tensor:
    """Soft aggregation of per-object probabilities in [0, 1]: (..., O, ...) -> (..., O + 1, ...)."""
    prob = torch.cat([(1 - prob).prod(dim, keepdim=True), prob], dim)
    return torch.logit(prob).clamp(-MAX_LOG_ODDS, MAX_LOG_ODDS).softmax(dim)


def without(prob: Tensor, slots: Sequence[int]) -> Tensor:
    """Probabilities (O + 1, H, W), background first, where the objects in these slots are not there.

    The others keep their odds to each other, which is soft aggregation without these.
    """
    prob = prob.clone()
    prob[[slot + 1 for slot in slots]] = 0
    prob[0] += 1e-7  # where nothing else was left
    return prob / prob.sum(0)


def one_hot(labels: Tensor, values: list[int]) -> Tensor:
    """Label image (H, W) -> (len(values), H, W) float32, 1 where a pixel carries that label."""
    wanted = torch.tensor(values, dtype=labels.dtype, device=labels.device)
    return (labels == wanted[:, None, None]).float()


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
