"""The metrics of one object in one frame, and their recall and decay over frames: J and F of DAVIS, and others.

Source: Perazzi et al., CVPR 2016, and the official evaluation of DAVIS-2017, whose float64 arithmetic is
kept in order, so that figures agree to the last bit. Masks are (H, W) uint8; nothing here reads files.
"""

import math
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Protocol

import numpy as np

from ..io.opencv import opencv
from ..registry import Registry

BOUNDARY_SHARE = 0.008  # of the image diagonal: how far apart boundaries may lie and still match
RECALL_ABOVE = 0.5
DECAY_BINS = 4
VOID = 255  # DAVIS-2017: pixels nobody is judged on
EMPTY = 1.0  # every metric of an object that neither mask shows


def ids_in(mask: np.ndarray) -> tuple[int, ...]:
    """Ids other than 0 in a mask (H, W) uint8, sorted."""
    pixels = opencv("scores need").calcHist([np.ascontiguousarray(mask)], [0], None, [256], [0, 256])
    return tuple(int(value) for value in np.flatnonzero(pixels) if value)


class Metric(Protocol):
    """One figure of one object in one frame, in [0, 1], the higher the better.

    Registered in METRICS and chosen by `metrics: [J, F]`. Reports show its mean, recall and decay. Not called
    where neither mask shows the object: that is 1.
    """

    def __call__(self, predicted: np.ndarray, annotated: np.ndarray, size: tuple[int, int]) -> float:
        """Compare two shapes.

        Args:
            predicted: (h, w) uint8 of 0 and 1, cut to the box around both shapes and one pixel more.
            annotated: The same for the annotation.
            size: (H, W) of the whole frame, px.
        """


METRICS: Registry[Metric] = Registry("metric", "metrics")


def chosen_metrics(names: Sequence[str] = ("J", "F")) -> dict[str, Metric]:
    """The metrics by name, in the order given. Raises UsageError for a name that nobody registered."""
    return {name: METRICS[name] for name in names}


def score_objects(
    prediction: np.ndarray, annotation: np.ndarray, object_ids: Iterable[int], metrics: Sequence[Metric]
) -> dict[int, tuple[float, ...]]:
    """The metrics of every object of a frame, in their order.

    Both masks are (H, W) uint8. Everything happens inside the box around both shapes and one pixel more: no boundary
    lies outside, and the rules for the last row and column apply only where the box ends with the image.
    """
    cv2 = opencv("scores need")
    height, width = annotation.shape
    scores: dict[int, tuple[float, ...]] = {}
    for object_id in object_ids:
        predicted = (prediction == object_id).view(np.uint8)
        annotated = (annotation == object_id).view(np.uint8)
        left, top, box_width, box_height = cv2.boundingRect(predicted | annotated)
        if box_width == 0:
            scores[object_id] = (EMPTY,) * len(metrics)
            continue
        box = (
            slice(max(top - 1, 0), min(top + box_height + 1, height)),
            slice(max(left - 1, 0), min(left + box_width + 1, width)),
        )
        predicted, annotated = predicted[box], annotated[box]
        scores[object_id] = tuple(metric(predicted, annotated, (height, width)) for metric in metrics)
    return scores


@METRICS.register("J")
def region_similarity(predicted: np.ndarray, annotated: np.ndarray, size: tuple[int, int]) -> float:
    """J: intersection over union, see `Metric`."""
    union = int(np.count_nonzero(predicted | annotated))
    return int(np.count_nonzero(predicted & annotated)) / union if union else EMPTY


@METRICS.register("F")
def boundary_accuracy(predicted: np.ndarray, annotated: np.ndarray, size: tuple[int, int]) -> float:
    """F with the published tolerance, see `Metric`."""
    return boundary_measure(predicted, annotated, boundary_radius(*size))


def boundary_measure(predicted: np.ndarray, annotated: np.ndarray, radius: int) -> float:
    """F of two (H, W) uint8 masks of 0 and 1: harmonic mean of the matched shares of both boundaries.

    A boundary pixel matches where the other boundary has one at most `radius` px away. One boundary
    missing: 0; both missing: 1.
    """
    of_predicted, of_annotated = boundary_map(predicted), boundary_map(annotated)
    predicted_px = int(np.count_nonzero(of_predicted))
    annotated_px = int(np.count_nonzero(of_annotated))
    if predicted_px == 0 or annotated_px == 0:
        return 1.0 if predicted_px == annotated_px else 0.0
    cv2 = opencv("scores need")
    reach = disk(radius)
    precision = int(np.count_nonzero(of_predicted & cv2.dilate(of_annotated, reach))) / predicted_px
    recall = int(np.count_nonzero(of_annotated & cv2.dilate(of_predicted, reach))) / annotated_px
    if precision + recall == 0:
        return 0.0
    return 2 * precision * recall / (precision + recall)


def boundary_map(mask: np.ndarray) -> np.ndarray:
    """Boundary pixels (H, W) uint8 of a mask of 0 and 1: those unlike their right, lower or diagonal neighbour.

    The last row looks to the right only, the last column down only, the last pixel is never boundary.
    """
    boundary = np.zeros_like(mask)
    here = mask[:-1, :-1]
    boundary[:-1, :-1] = (here ^ mask[:-1, 1:]) | (here ^ mask[1:, :-1]) | (here ^ mask[1:, 1:])
    boundary[-1, :-1] = mask[-1, :-1] ^ mask[-1, 1:]
    boundary[:-1, -1] = mask[:-1, -1] ^ mask[1:, -1]
    return boundary


def boundary_radius(height: int, width: int) -> int:
    """Tolerance of F in px for images of this size: ceil(0.008 * diagonal)."""
    return math.ceil(BOUNDARY_SHARE * np.linalg.norm((height, width)))


@lru_cache(maxsize=8)
def disk(radius: int) -> np.ndarray:
    """(2r + 1, 2r + 1) uint8, 1 where the distance to the middle is at most r."""
    across = np.arange(-radius, radius + 1)
    return (across[:, None] ** 2 + across**2 <= radius**2).astype(np.uint8)


def recall(values: np.ndarray) -> float:
    """Share of frames above 0.5; values (N,) float64."""
    return float(np.mean(values > RECALL_ABOVE))


def decay(values: np.ndarray) -> float:
    """Mean of the first quarter of the frames minus mean of the last; values (N,) float64, N >= 1.

    The quarters share their end frames, as in the official tool. Its 8 bit frame indices, which overflow
    in videos of more than 256 frames, are not followed.
    """
    ends = np.round(np.linspace(1, len(values), DECAY_BINS + 1) + 1e-10).astype(np.int64) - 1
    first, last = values[ends[0] : ends[1] + 1], values[ends[-2] : ends[-1] + 1]
    return float(np.mean(first) - np.mean(last))
