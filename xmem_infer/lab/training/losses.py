"""What a prediction costs: bootstrapped cross entropy, soft dice, and the keys' own term."""

import torch
import torch.nn.functional as F
from torch import Tensor

from ...ops.affinity import full_precision
from .config import LossConfig
from .unroll import Unrolled


def hard_share(config: LossConfig, seen: int) -> float:
    """Share of pixels, the worst ones, that cross entropy averages over: from all to `config.hard_share`."""
    done = min(1.0, seen / max(1, config.hard_after))
    return 1.0 + (config.hard_share - 1.0) * done


def bootstrapped_cross_entropy(odds: Tensor, labels: Tensor, share: float) -> Tensor:
    """Mean over samples of the mean over each one's worst pixels. odds (B, O + 1, H, W), labels (B, H, W) int64."""
    loss = F.cross_entropy(odds, labels, reduction="none").flatten(1)
    if share < 1.0:
        loss = loss.topk(max(1, int(share * loss.shape[1])), dim=1, sorted=False).values
    return loss.mean()


def soft_dice(prob: Tensor, masks: Tensor) -> Tensor:
    """1 - dice, mean over samples and objects; prob and masks (B, O, H, W) in [0, 1]."""
    prob, masks = prob.flatten(2), masks.flatten(2)
    both = (prob * masks).sum(2)
    return (1 - (2 * both + 1) / (prob.sum(2) + masks.sum(2) + 1)).mean()


def first_read_loss(carried: Tensor, coarse: Tensor) -> Tensor:
    """Cross entropy of the first masks carried over by the keys, against the frame's own; both (B, O, h, w)."""
    # In half precision the clamp would end at 1, where there is no gradient; on CUDA autocast refuses the loss itself.
    with full_precision(carried):
        return F.binary_cross_entropy(carried.float().clamp(1e-4, 1 - 1e-4), coarse)


def total_loss(
    result: Unrolled, labels: Tensor, masks: Tensor, coarse: Tensor, config: LossConfig, seen: int
) -> tuple[Tensor, dict[str, float]]:
    """The loss and its parts. labels (B, T, H, W), masks (B, T, O, H, W), coarse (B, T, O, h, w)."""
    share = hard_share(config, seen)
    parts = torch.stack(
        [
            torch.stack(
                [
                    bootstrapped_cross_entropy(odds, labels[:, t].long(), share),
                    soft_dice(prob[:, 1:], masks[:, t]),
                    first_read_loss(carried, coarse[:, t]),
                ]
            )
            for t, (odds, prob, carried) in enumerate(
                zip(result.odds, result.prob, result.first_read, strict=True), start=1
            )
        ]
    ).mean(0)
    loss = parts[0] + config.dice * parts[1] + config.key * parts[2]
    names = ("loss", "cross_entropy", "dice", "key")
    return loss, dict(zip(names, [loss.item(), *parts.tolist()], strict=True))
