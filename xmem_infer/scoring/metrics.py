"""Metrics of one object in one frame (J and F of DAVIS, and registered ones), and recall and decay over frames.

Source: Perazzi et al., CVPR 2016, and the official evaluation of DAVIS-2017. The float64 operations are in the same
order as in the official code, so that results agree to the last bit. Masks are (H, W) uint8; no files are read.
"""

import math
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Protocol

import numpy as np

from ..io.opencv import opencv
from ..registry import Registry

VOID = 255  # DAVIS-2017: pixels that are excluded from scoring
EMPTY = 1.0  # value of every metric for an object that is in neither mask


def ids_in(mask: np.ndarray) -> tuple[int, ...]:
    """Return the sorted ids in a mask (H, W) uint8, without 0."""
    pixels = opencv("scores need").calcHist([np.ascontiguousarray(mask)], [0], None, [256], [0, 256])
    return tuple(int(value) for value in np.flatnonzero(pixels) if value)


class Metric(Protocol):
    """A function that scores one object in one frame, in [0, 1], higher is better.

    Metrics are registered in METRICS and selected by the setting `metrics`, such as [J, F]. Reports show their mean,
    recall and decay. A metric is not called for an object that is in neither mask: its value is then 1.
    """

    def __call__(self, predicted: np.ndarray, annotated: np.ndarray, size: tuple[int, int]) -> float:
        """Compare both masks, (h, w) uint8 of 0 and 1, cropped to their bounding box plus one pixel.

        size: (H, W) of the whole frame in px.
        """


METRICS: Registry[Metric] = Registry("metric", "metrics")


def chosen_metrics(names: Sequence[str] = ("J", "F")) -> dict[str, Metric]:
    """Return the metrics by name, in the given order. Raises UsageError if a name is not registered."""
    return {name: METRICS[name] for name in names}


def score_objects(
    prediction: np.ndarray, annotation: np.ndarray, object_ids: Iterable[int], metrics: Sequence[Metric]
) -> dict[int, tuple[float, ...]]:
    """Compute the metrics of every object in a frame; returned by object id, in the order of `metrics`.

    Both masks are (H, W) uint8. Metrics are computed on the bounding box of both shapes plus one pixel. This does not
    change F: all boundary pixels are inside the box, and the special rules of `boundary_map` for the last row and
    column only matter if the box ends at the edge of the image.
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
        scores[object_id] = tuple(metric(predicted[box], annotated[box], (height, width)) for metric in metrics)
    return scores


@METRICS.register("J")
def region_similarity(predicted: np.ndarray, annotated: np.ndarray, size: tuple[int, int]) -> float:
    """Return J, the intersection over union; for the arguments see `Metric`."""
    union = int(np.count_nonzero(predicted | annotated))
    return int(np.count_nonzero(predicted & annotated)) / union if union else EMPTY


@METRICS.register("F")
def boundary_accuracy(predicted: np.ndarray, annotated: np.ndarray, size: tuple[int, int]) -> float:
    """Return F with the published tolerance, `boundary_radius`; for the arguments see `Metric`."""
    return boundary_measure(predicted, annotated, boundary_radius(*size))


def boundary_measure(predicted: np.ndarray, annotated: np.ndarray, radius: int) -> float:
    """Return F of two (H, W) uint8 masks of 0 and 1: the harmonic mean of boundary precision and recall.

    A boundary pixel matches if the other boundary has a pixel at most `radius` px away. F is 0 if only one mask has
    a boundary and 1 if neither has.
    """
    predicted_edge, annotated_edge = boundary_map(predicted), boundary_map(annotated)
    predicted_px = int(np.count_nonzero(predicted_edge))
    annotated_px = int(np.count_nonzero(annotated_edge))
    if predicted_px == 0 or annotated_px == 0:
        return 1.0 if predicted_px == annotated_px else 0.0
    cv2, kernel = opencv("scores need"), disk(radius)
    precision = int(np.count_nonzero(predicted_edge & cv2.dilate(annotated_edge, kernel))) / predicted_px
    recall = int(np.count_nonzero(annotated_edge & cv2.dilate(predicted_edge, kernel))) / annotated_px
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


def boundary_map(mask: np.ndarray) -> np.ndarray:
    """Return the boundary pixels, (H, W) uint8 of 0 and 1, of a binary mask.

    A boundary pixel differs from its right, lower or lower right neighbour. In the last row only the right neighbour
    counts, in the last column only the lower one; the bottom right pixel is never boundary.
    """
    boundary = np.zeros_like(mask)
    here = mask[:-1, :-1]
    boundary[:-1, :-1] = (here ^ mask[:-1, 1:]) | (here ^ mask[1:, :-1]) | (here ^ mask[1:, 1:])
    boundary[-1, :-1] = mask[-1, :-1] ^ mask[-1, 1:]
    boundary[:-1, -1] = mask[:-1, -1] ^ mask[1:, -1]
    return boundary


def boundary_radius(height: int, width: int) -> int:
    """Return the tolerance of F, the maximum distance of boundary pixels that match, in px: 0.8% of the diagonal."""
    return math.ceil(0.008 * np.linalg.norm((height, width)))


@lru_cache(maxsize=8)
def disk(radius: int) -> np.ndarray:
    """Return a (2r + 1, 2r + 1) uint8 kernel with 1 within distance r of its centre and 0 outside."""
    across = np.arange(-radius, radius + 1)
    return (across[:, None] ** 2 + across**2 <= radius**2).astype(np.uint8)


def recall(values: np.ndarray) -> float:
    """Return the share of values above 0.5; values (N,) float64."""
    return float(np.mean(values > 0.5))


def decay(values: np.ndarray) -> float:
    """Return the mean of the first quarter of the frames minus that of the last; values (N,) float64, N >= 1.

    Neighbouring quarters share a frame, as in the official tool. Unlike the official tool, this works for more than
    256 frames, where the tool's 8-bit frame indices overflow.
    """
    ends = np.round(np.linspace(1, len(values), 5) + 1e-10).astype(np.int64) - 1
    first, last = values[ends[0] : ends[1] + 1], values[ends[-2] : ends[-1] + 1]
    return float(np.mean(first) - np.mean(last))
