"""A mask of one object from a box and clicks, by GrabCut or by the method of `random_walk`.

The functions are stateless: the caller passes the box, all clicks and the current mask at each call.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from ..errors import UsageError
from ..io.opencv import opencv

Box = tuple[float, float, float, float]
Click = tuple[float, float, int]

LONG_SIDE = 320  # px; the image region around the object is downscaled to this
MARGIN = 0.2  # around the object, as a share of its longer side
CLICK_RADIUS = 2.5  # px of the downscaled image; pixels within it get the click's label
GRABCUT_ROUNDS = 2
LEAST_SHARE = 0.15  # of the initial mask's area; GrabCut has failed if less is left


@dataclass(frozen=True)
class Task:
    """The input of a method: the image region around the object, downscaled.

    Attributes:
        image: (h, w, 3) uint8 RGB.
        seeds: (h, w) int8, 1 around clicks on the object, -1 around clicks on background, 0 elsewhere.
        mask: (h, w) bool, the current mask; None: there is none.
        inside: (h, w) bool, the pixels that can belong to the object: inside the box, or around clicks on it.
        has_box: Whether there is a box.
        clicks: x and y in px of the downscaled image, and 1 (object) or -1 (background), oldest first.
    """

    image: np.ndarray
    seeds: np.ndarray
    mask: np.ndarray | None
    inside: np.ndarray
    has_box: bool
    clicks: Sequence[Click]


Method = Callable[[Task], np.ndarray]
"""Returns (h, w) bool, the mask of the region."""


def propose(
    method: Method,
    image: np.ndarray,
    mask: np.ndarray | None = None,
    box: Box | None = None,
    clicks: Sequence[Click] = (),
) -> np.ndarray:
    """Propose a mask of one object from a box, clicks and the current mask.

    Args:
        method: `random_walk.walker` or `grabcut`.
        image: (H, W, 3) uint8 RGB.
        mask: (H, W) bool, the object's current mask, to be corrected around the clicks; None: there is none.
        box: x0, y0, x1, y1 in px around the object; None: it can be anywhere.
        clicks: x and y in px, and 1 for object or -1 for background.

    Returns:
        (H, W) bool.

    Raises:
        UsageError: There is neither a box nor a mask nor a click on the object, or the box is outside the image.
        EnvironmentFault: OpenCV is not installed.
    """
    if box is None and mask is None and not any(sign > 0 for _, _, sign in clicks):
        raise UsageError("mark the object first: a box around it, or a click on it")
    cv2 = opencv("proposed masks need")
    left, top, right, bottom = _region(image.shape[:2], mask, box, clicks)
    region = (slice(top, bottom), slice(left, right))
    size = (bottom - top, right - left)
    scale = min(1.0, LONG_SIDE / max(size))
    height, width = max(2, round(size[0] * scale)), max(2, round(size[1] * scale))

    def downscale(values: np.ndarray) -> np.ndarray:
        resized: np.ndarray = cv2.resize(values, (width, height), interpolation=cv2.INTER_AREA)
        return resized

    rows, columns = np.mgrid[:height, :width] + 0.5
    columns, rows = left + columns * size[1] / width, top + rows * size[0] / height
    inside = np.ones((height, width), bool)
    if box is not None:
        inside = (columns >= box[0]) & (columns <= box[2]) & (rows >= box[1]) & (rows <= box[3])
        if not inside.any():
            raise UsageError(f"the box {list(box)} contains no pixel of the frame: draw another one, around the object")
    seeds = np.zeros((height, width), np.int8)
    for x, y, sign in clicks:
        seeds[(columns - x) ** 2 + (rows - y) ** 2 <= (CLICK_RADIUS * max(1.0, 1 / scale)) ** 2] = np.sign(sign)
    current = None if mask is None else downscale(mask[region].astype(np.float32)) > 0.5
    scaled_clicks = [((x - left) * width / size[1], (y - top) * height / size[0], sign) for x, y, sign in clicks]
    task = Task(downscale(image[region]), seeds, current, inside | (seeds > 0), box is not None, scaled_clicks)
    proposal = method(task) & (seeds >= 0) | (seeds > 0)
    result = np.zeros(image.shape[:2], bool) if mask is None else mask.copy()
    upscaled = cv2.resize(proposal.astype(np.float32), size[::-1], interpolation=cv2.INTER_LINEAR) > 0.5
    if mask is None or not clicks:
        result[region] = upscaled
    else:
        result[region] = _changed_at_clicks(mask[region], upscaled, [(x - left, y - top) for x, y, _ in clicks])
    return result


def _region(
    size: tuple[int, ...], mask: np.ndarray | None, box: Box | None, clicks: Sequence[Click]
) -> tuple[int, int, int, int]:
    """Return left, top, right and bottom of the image region to work on; the whole image if there are only clicks."""
    height, width = size
    corners = [] if box is None else [box]
    if mask is not None and mask.any():
        rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
        corners.append((columns[0], rows[0], columns[-1] + 1, rows[-1] + 1))
    if not corners:
        return 0, 0, width, height
    corners += [(x, y, x, y) for x, y, _ in clicks]
    x0, y0 = (min(corner[i] for corner in corners) for i in (0, 1))
    x1, y1 = (max(corner[i] for corner in corners) for i in (2, 3))
    margin = max(16.0, MARGIN * max(x1 - x0, y1 - y0))
    left, top = max(0, min(width - 2, int(x0 - margin))), max(0, min(height - 2, int(y0 - margin)))
    return left, top, max(left + 2, min(width, int(x1 + margin) + 1)), max(top + 2, min(height, int(y1 + margin) + 1))


def _changed_at_clicks(before: np.ndarray, after: np.ndarray, clicks: Sequence[tuple[float, float]]) -> np.ndarray:
    """Return `before` with those connected changes that contain a click, or `after` if no change contains one."""
    cv2 = opencv("proposed masks need")
    _, parts = cv2.connectedComponents((before ^ after).astype(np.uint8))
    height, width = before.shape
    hit = {int(parts[min(height - 1, max(0, int(y))), min(width - 1, max(0, int(x)))]) for x, y in clicks} - {0}
    return before ^ np.isin(parts, list(hit)) if hit else after


def grabcut(task: Task) -> np.ndarray:
    """GrabCut (Rother et al., SIGGRAPH 2004): alternates colour models of object and background with graph cuts."""
    cv2 = opencv("proposed masks need")
    start = _ellipse(task.inside) if task.mask is None else task.mask
    labels = np.where(start, cv2.GC_PR_FGD, cv2.GC_PR_BGD).astype(np.uint8)
    labels[~task.inside] = cv2.GC_BGD
    labels[task.seeds > 0], labels[task.seeds < 0] = cv2.GC_FGD, cv2.GC_BGD
    is_object = (labels == cv2.GC_FGD) | (labels == cv2.GC_PR_FGD)
    if is_object.all() or not is_object.any():  # no pixels to learn the colours of object or background from
        return is_object
    cv2.setRNGSeed(0)
    bgr = np.ascontiguousarray(task.image[..., ::-1])
    cv2.grabCut(bgr, labels, None, np.zeros((1, 65)), np.zeros((1, 65)), GRABCUT_ROUNDS, cv2.GC_INIT_WITH_MASK)
    result: np.ndarray = (labels == cv2.GC_FGD) | (labels == cv2.GC_PR_FGD)
    return result if result.sum() >= LEAST_SHARE * start.sum() else start  # object and background look alike


def _ellipse(inside: np.ndarray) -> np.ndarray:
    """Return the ellipse inscribed in the box, since most objects do not fill the corners of their box."""
    rows, columns = np.flatnonzero(inside.any(1)), np.flatnonzero(inside.any(0))
    y, x = np.ogrid[: inside.shape[0], : inside.shape[1]]
    centre_y, centre_x = (rows[0] + rows[-1]) / 2, (columns[0] + columns[-1]) / 2
    half_height, half_width = max(1.0, len(rows) / 2), max(1.0, len(columns) / 2)
    ellipse: np.ndarray = ((y - centre_y) / half_height) ** 2 + ((x - centre_x) / half_width) ** 2 <= 1
    return ellipse
