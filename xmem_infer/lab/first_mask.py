"""A simulated user who marks an object by a box and clicks until the mask is good enough."""

from collections.abc import Sequence

import numpy as np

from ..interactive.box_and_clicks import Click, Method, grabcut, propose
from ..interactive.random_walk import walker
from ..interrupts import check
from ..io.opencv import opencv
from ..scoring.metrics import region_similarity

METHODS: dict[str, Method] = {"grabcut": grabcut, "walker": walker}  # which propose a mask
GOOD_IOU = 0.85
MOST_CLICKS = 10
LEAST_PX = 100  # objects with fewer pixels are skipped


def object_masks(labels: np.ndarray) -> list[np.ndarray]:
    """Return the mask (H, W) bool of each object of a label image that has at least LEAST_PX pixels."""
    ids, areas = np.unique(labels, return_counts=True)
    return [labels == id for id, area in zip(ids.tolist(), areas.tolist(), strict=True) if id and area >= LEAST_PX]


def iou_by_clicks(method: Method, image: np.ndarray, truth: np.ndarray, *, box: bool) -> list[float]:
    """Return the IoU after the box alone (0 without a box) and after each click, up to GOOD_IOU or MOST_CLICKS."""
    rows, columns = np.flatnonzero(truth.any(1)), np.flatnonzero(truth.any(0))
    bounding_box = (columns[0], rows[0], columns[-1] + 1, rows[-1] + 1) if box else None
    clicks: list[Click] = []
    predicted = propose(method, image, None, bounding_box, clicks) if box else np.zeros_like(truth)
    reached = [region_similarity(predicted, truth, truth.shape)]
    while reached[-1] < GOOD_IOU and len(clicks) < MOST_CLICKS:
        check()
        clicks.append(next_click(predicted, truth))
        predicted = propose(method, image, None, bounding_box, clicks)
        reached.append(region_similarity(predicted, truth, truth.shape))
    return reached


def next_click(predicted: np.ndarray, truth: np.ndarray) -> Click:
    """Place a click in the largest connected wrong region, at the pixel farthest from its edge.

    The sign is 1 if the object is missing there, -1 if the prediction should not be there.
    """
    cv2 = opencv("scores need")
    best: tuple[int, Click] = (0, (0.0, 0.0, 0))
    for sign, wrong in ((1, truth & ~predicted), (-1, predicted & ~truth)):
        _, parts = cv2.connectedComponents(wrong.view(np.uint8))
        areas = np.bincount(parts.ravel())
        areas[0] = 0
        if areas.max() > best[0]:
            part = np.pad((parts == areas.argmax()).view(np.uint8), 1)
            depth = cv2.distanceTransform(part, cv2.DIST_L2, 5)[1:-1, 1:-1]
            y, x = np.unravel_index(depth.argmax(), depth.shape)
            best = (int(areas.max()), (float(x) + 0.5, float(y) + 0.5, sign))
    return best[1]


def clicks_needed(curves: Sequence[Sequence[float]]) -> tuple[float, int]:
    """Return the mean number of clicks to reach GOOD_IOU, and how many curves do not reach it.

    A curve that does not reach GOOD_IOU counts as MOST_CLICKS.
    """
    needed = [next((n for n, value in enumerate(curve) if value >= GOOD_IOU), MOST_CLICKS) for curve in curves]
    return float(np.mean(needed)), sum(max(curve) < GOOD_IOU for curve in curves)
