"""Turning decoded video frames the way the file says they are to be shown."""

from typing import Any

import numpy as np
from av.video.frame import VideoFrame


def upright(frame: VideoFrame) -> np.ndarray:
    """(H, W, 3) uint8 RGB of a decoded frame, turned and mirrored as its display matrix says.

    The matrix (a b; c d) takes a pixel at (x, y) to (a x + c y, b x + d y), y pointing down. Turns that are
    no multiple of 90 degrees are left out.
    """
    pixels = frame.to_ndarray(format="rgb24")
    matrix: Any = frame.side_data.get("DISPLAYMATRIX")
    if matrix is None:
        return pixels
    parts = np.frombuffer(memoryview(matrix), np.int32)[:5].astype(np.float64)
    a, b, _, c, d = np.rint(parts / max(1.0, np.abs(parts).max())).astype(int)
    if (a, d) == (0, 0) and b and c:
        pixels, to_right, to_bottom = pixels.transpose(1, 0, 2), c, b
    elif (b, c) == (0, 0) and a and d:
        to_right, to_bottom = a, d
    else:
        return pixels
    return np.ascontiguousarray(pixels[::to_bottom, ::to_right])
