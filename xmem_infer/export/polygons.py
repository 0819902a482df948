"""One polygon around an object, whatever its parts and holes."""

import numpy as np

from ..io.opencv import opencv

TOLERANCE = 0.5  # of half a pixel: so far a simplified outline may lie from the exact one


def polygon(mask: np.ndarray) -> np.ndarray:
    """A closed polygon (N, 2) of x and y in px around all parts of a mask (H, W) of 0 and 1, its holes left out.

    Pixel (x, y) covers the square from (x, y) to (x + 1, y + 1). Outlines run a quarter of a pixel inside the object's
    edge, so that each of its pixels keeps its centre inside. Parts and holes are joined to the outline before by a
    bridge that is walked there and back; holes are walked the other way round, so that they stay empty for any rule of
    filling.
    """
    cv2 = opencv("format=yolo needs")
    doubled = np.pad(mask.repeat(2, axis=0).repeat(2, axis=1), 1)
    outlines, _ = cv2.findContours(doubled, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_SIMPLE)
    rings = []
    for outline in outlines:
        shorter = cv2.approxPolyDP(outline, TOLERANCE, True)
        ring = (shorter if len(shorter) >= 3 else outline)[:, 0].astype(np.float64)
        rings.append((ring - 0.5) / 2)  # less the padding; the centre of half a pixel
    path = rings.pop(0)
    while rings:
        distances = [_nearest(path, ring) for ring in rings]
        number = int(np.argmin([distance for distance, _, _ in distances]))
        _, on_path, on_ring = distances[number]
        ring = np.roll(rings.pop(number), -on_ring, axis=0)
        path = np.concatenate([path[: on_path + 1], ring, ring[:1], path[on_path:]])
    return path


def _nearest(path: np.ndarray, ring: np.ndarray) -> tuple[float, int, int]:
    """Squared distance of the two nearest corners, and which they are."""
    squared = ((path[:, None] - ring[None]) ** 2).sum(2)
    at = int(squared.argmin())
    return float(squared.flat[at]), at // len(ring), at % len(ring)
