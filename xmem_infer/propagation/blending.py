"""Blending a forward and a backward pass over the frames between two references."""

from collections.abc import Mapping
from dataclasses import replace

import torch

from ..predictor import Segmenter
from ..results import FrameResult, Prediction


def blend(
    segmenter: Segmenter, forward: FrameResult, backward: FrameResult, weights: Mapping[int, float]
) -> FrameResult:
    """Combine a frame's results from both passes; `weights` are those of the backward pass, by object id."""
    object_ids = tuple(dict.fromkeys([*forward.object_ids, *backward.object_ids]))
    prob = forward.working_prob
    planes = prob.new_zeros(len(object_ids), *prob.shape[-2:])
    for plane, object_id in zip(planes, object_ids, strict=True):
        weight = weights[object_id]
        for result, share in ((forward, 1 - weight), (backward, weight)):
            if object_id in result.object_ids:
                plane += result.working_prob[1 + result.object_ids.index(object_id)].to(prob) * share
    mixed = torch.cat([(1 - planes.sum(0, keepdim=True)).clamp(min=0), planes])
    prediction = Prediction(mixed / mixed.sum(0), False, object_ids, False, forward.stage_ms)
    result = segmenter.result(forward.frame, [prediction])
    confidence = {}
    for object_id, seen in result.confidence.items():
        nearer = backward if weights[object_id] > 0.5 else forward
        tracked = nearer.confidence.get(object_id, seen)
        confidence[object_id] = replace(seen, key_distance=tracked.key_distance, drift=tracked.drift)
    return replace(result, confidence=confidence)
