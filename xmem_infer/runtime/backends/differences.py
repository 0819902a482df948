"""Differences between the results of a network's verbs in int8 or bf16 and in float32, and the limits for them."""

from dataclasses import dataclass
from typing import Any

from torch import Tensor
from torch.utils._pytree import tree_flatten

from ...ops.masks import aggregate_logits

IMAGE, MEMORY, DECODE = VERBS = "encode_image", "encode_memory", "decode"
# Largest accepted difference. Decode: differing pixels relative to the union of the two masks (1 - IoU), by object.
# Other verbs: norm of the difference relative to the norm of float32's result.
LIMITS = {IMAGE: 0.25, MEMORY: 0.25, DECODE: 0.1}
SMALL = 0.001  # share of the image: differences of a smaller object are related to this area instead of its own


@dataclass(frozen=True)
class Comparison:
    """Result of comparing int8 with float32 on the same frame."""

    verb: str
    part: str  # the verb that caused a difference: `encode_image` if masks differ because of its features
    shares: tuple[float, ...]  # as in `LIMITS`: one for each object's mask, or one for all tensors of the result
    holds: bool  # whether all differences are within the limit


def tensors_of(tree: Any) -> list[Tensor]:
    """Return the tensors in nested arguments or results, in order."""
    return [x for x in tree_flatten(tree)[0] if isinstance(x, Tensor)]


def differences(verb: str, result: Any, expected: Any) -> tuple[float, ...]:
    """Return the differences of two results as in `LIMITS`: one per object for `decode`, else the largest tensor's."""
    if verb != DECODE:
        pairs = zip(tensors_of(result), tensors_of(expected), strict=True)
        return (max(float((x - y).norm() / y.norm().clamp(min=1e-9)) for x, y in pairs),)
    masks, expected_masks = (aggregate_logits(logits)[1].argmax(1) for _, logits in (result, expected))
    shares = []
    for slot in range(1, expected[1].shape[1] + 1):
        mask, expected_mask = masks == slot, expected_masks == slot
        union = (mask | expected_mask).sum().clamp(min=SMALL * mask.numel())
        shares.append(float((mask ^ expected_mask).sum() / union))
    return tuple(shares)
