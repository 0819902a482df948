"""The DAVIS measures of one frame and of one object: region similarity J, boundary F, recall, decay.

Source: Perazzi et al., CVPR 2016, and the official evaluation of DAVIS-2017, whose float64 arithmetic is
kept in order, so that figures agree to the last bit. Masks are (H, W) uint8; nothing here reads files.
"""

import math
from collections.abc import Iterable
from functools import lru_cache

import numpy as np

from ..io.opencv import opencv

BOUNDARY_SHARE = 0.008  # of the image diagonal: how far apart boundaries may lie and still match
RECALL_ABOVE = 0.5
DECAY_BINS = 4
VOID = 255  # DAVIS-2017: pixels nobody is judged on

Pair = tuple[float, float]  # J, F
EMPTY: Pair = (1.0, 1.0)  # an object that neither mask shows


def labels_in(mask: np.ndarray, likely: Iterable[int] = ()) -> tuple[int, ...]:
    """Labels other than 0 in a mask (H, W) uint8, sorted; quicker where they are among the `likely` ones."""
    left = int(np.count_nonzero(mask))
    found = []
    for label in sorted(set(likely)):
        pixels = int(np.count_nonzero(mask == label)) if left and label else 0
        left -= pixels
        if pixels:
            found.append(label)
    return tuple(int(label) for label in np.unique(mask) if label) if left else tuple(found)


def score_labels(prediction: np.ndarray, annotation: np.ndarray, labels: Iterable[int]) -> dict[int, Pair]:
    """J and F of every label in `labels`; masks (H, W) uint8 of one shape, pixels equal to the label count.

    Everything happens inside the box around both shapes and one pixel more: no boundary lies outside, and
    the rules for the last row and column apply only where the box ends with the image.
    """
    cv2 = opencv("scores need")
    height, width = annotation.shape
    radius = boundary_radius(height, width)
    scores: dict[int, Pair] = {}
    for label in labels:
        predicted = (prediction == label).view(np.uint8)
        annotated = (annotation == label).view(np.uint8)
        left, top, box_width, box_height = cv2.boundingRect(predicted | annotated)
        if box_width == 0:
            scores[label] = EMPTY
            continue
        box = (
            slice(max(top - 1, 0), min(top + box_height + 1, height)),
            slice(max(left - 1, 0), min(left + box_width + 1, width)),
        )
        predicted, annotated = predicted[box], annotated[box]
        scores[label] = (jaccard(predicted, annotated), boundary_measure(predicted, annotated, radius))
    return scores


def jaccard(predicted: np.ndarray, annotated: np.ndarray) -> float:
    """Intersection over union of two (H, W) uint8 masks of 0 and 1; 1 where both are empty."""
    union = int(np.count_nonzero(predicted | annotated))
    return int(np.count_nonzero(predicted & annotated)) / union if union else 1.0


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
