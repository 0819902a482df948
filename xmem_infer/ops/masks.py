"""Probabilities of several objects that share one picture, and how they meet the background."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

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


def one_hot(labels: Tensor, values: list[int]) -> Tensor:
    """Label image (H, W) -> (len(values), H, W) float32, 1 where a pixel carries that label."""
    wanted = torch.tensor(values, dtype=labels.dtype, device=labels.device)
    return (labels == wanted[:, None, None]).float()
