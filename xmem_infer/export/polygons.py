"""Convert a mask with any number of parts and holes to a single polygon."""

import numpy as np

from ..io.opencv import opencv

TOLERANCE = 0.5  # half pixels: maximum distance of the simplified outline from the exact one


def polygon(mask: np.ndarray) -> np.ndarray:
    """Return one closed polygon (N, 2) of (x, y) in px around all parts of a binary mask (H, W), excluding its holes.

    Pixel (x, y) covers the square from (x, y) to (x + 1, y + 1). Outlines run a quarter of a pixel inside the edge of
    the object, so that they contain the centre of each of its pixels. Every part and hole is connected to the path
    by a bridge that is traversed in both directions. Holes have the opposite orientation of the outline, so that they
    are empty under both the even-odd and the non-zero fill rule.
    """
    cv2 = opencv("format=yolo needs")
    doubled = np.pad(mask.repeat(2, axis=0).repeat(2, axis=1), 1)
    outlines, _ = cv2.findContours(doubled, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_SIMPLE)
    rings = []
    for outline in outlines:
        shorter = cv2.approxPolyDP(outline, TOLERANCE, True)
        ring = (shorter if len(shorter) >= 3 else outline)[:, 0].astype(np.float64)
        rings.append((ring - 0.5) / 2)  # -1 for the padding, +0.5 for the pixel centre, then undo the doubling
    path = rings.pop(0)
    while rings:
        distances = [_nearest(path, ring) for ring in rings]
        number = int(np.argmin([distance for distance, _, _ in distances]))
        _, on_path, on_ring = distances[number]
        ring = np.roll(rings.pop(number), -on_ring, axis=0)
        path = np.concatenate([path[: on_path + 1], ring, ring[:1], path[on_path:]])
    return path


def _nearest(path: np.ndarray, ring: np.ndarray) -> tuple[float, int, int]:
    """Return the squared distance of the nearest pair of corners, and their indices in `path` and `ring`."""
    squared = ((path[:, None] - ring[None]) ** 2).sum(2)
    nearest = int(squared.argmin())
    return float(squared.flat[nearest]), nearest // len(ring), nearest % len(ring)
