"""A simulated person who marks an object by a box and clicks, until the mask is good enough."""

from collections.abc import Sequence

import numpy as np

from ..interactive.box_and_clicks import Click, Way, grabcut, propose, walker
from ..interrupts import check
from ..io.opencv import opencv

WAYS: dict[str, Way] = {"grabcut": grabcut, "walker": walker}  # to propose a mask
GOOD_IOU = 0.85
MOST_CLICKS = 10
LEAST_PX = 100  # objects with fewer pixels are not marked


def objects_of(labels: np.ndarray) -> list[np.ndarray]:
    """The mask (H, W) bool of each object of a label image that is large enough."""
    ids, areas = np.unique(labels, return_counts=True)
    return [labels == one for one, area in zip(ids.tolist(), areas.tolist(), strict=True) if one and area >= LEAST_PX]


def iou_by_clicks(way: Way, image: np.ndarray, true: np.ndarray, *, box: bool) -> list[float]:
    """IoU after the box alone (0 without one), and after each click, up to GOOD_IOU or MOST_CLICKS."""
    rows, columns = np.flatnonzero(true.any(1)), np.flatnonzero(true.any(0))
    around = (columns[0], rows[0], columns[-1] + 1, rows[-1] + 1) if box else None
    clicks: list[Click] = []
    found = propose(way, image, None, around, clicks) if box else np.zeros_like(true)
    reached = [iou(found, true)]
    while reached[-1] < GOOD_IOU and len(clicks) < MOST_CLICKS:
        check()
        clicks.append(next_click(found, true))
        found = propose(way, image, None, around, clicks)
        reached.append(iou(found, true))
    return reached


def next_click(found: np.ndarray, true: np.ndarray) -> Click:
    """In the largest connected piece that is wrong, where its edge is farthest: 1 where it is missing, -1 otherwise."""
    cv2 = opencv("scores need")
    best: tuple[int, Click] = (0, (0.0, 0.0, 0))
    for sign, wrong in ((1, true & ~found), (-1, found & ~true)):
        _, parts = cv2.connectedComponents(wrong.view(np.uint8))
        areas = np.bincount(parts.ravel())
        areas[0] = 0
        if areas.max() > best[0]:
            part = np.pad((parts == areas.argmax()).view(np.uint8), 1)
            depth = cv2.distanceTransform(part, cv2.DIST_L2, 5)[1:-1, 1:-1]
            y, x = np.unravel_index(depth.argmax(), depth.shape)
            best = (int(areas.max()), (float(x) + 0.5, float(y) + 0.5, sign))
    return best[1]


def iou(found: np.ndarray, true: np.ndarray) -> float:
    """Intersection over union of two masks, 1 where both are empty."""
    return float((found & true).sum() / max(1, (found | true).sum()))


def clicks_needed(curves: Sequence[Sequence[float]]) -> tuple[float, int]:
    """Mean number of clicks to GOOD_IOU, counted as MOST_CLICKS where it is not reached, and how often it is not."""
    needed = [next((n for n, value in enumerate(curve) if value >= GOOD_IOU), MOST_CLICKS) for curve in curves]
    return float(np.mean(needed)), sum(max(curve) < GOOD_IOU for curve in curves)
