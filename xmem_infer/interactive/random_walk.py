"""Correction of a mask around clicks by random walks (Grady, PAMI 2006)."""

from dataclasses import replace

import numpy as np

from ..io.opencv import opencv
from .box_and_clicks import CLICK_RADIUS, Click, Task, grabcut

# How a random walk corrects a mask around a click. The unit of distance is that from the click to the edge of the wrong
# region, as users click in its middle. Best of about twenty settings on the twenty objects of examples/annotator.
SURE, DOUBTFUL, KEPT = 0.6, 1.3, 3.0  # the click's label up to SURE; trust in the mask grows from DOUBTFUL to KEPT
MOST_WRONG = 0.25  # upper limit of that unit, as a share of the image's longer side
TRUST = 0.1  # weight of the mask beyond KEPT, in units of an edge weight
LEAST_TRUST = 0.003  # up to DOUBTFUL
FIRST_RADIUS = 8.0  # px of the downscaled image; radius of the object around a click without a box or mask
BACKGROUND = 0.0005  # weight of background as the prior label in that case
ROUNDS = 150  # maximum iterations of conjugate gradients


def walker(task: Task) -> np.ndarray:
    """GrabCut in the box, then for each click a random walk (Grady, PAMI 2006) that corrects the mask around it."""
    edges, clicks = _edges(task.image), list(task.clicks)
    if task.mask is not None:
        mask = task.mask
    elif task.has_box:
        mask = grabcut(replace(task, seeds=np.zeros_like(task.seeds)))
    else:
        first = clicks.pop(next(i for i, (_, _, sign) in enumerate(clicks) if sign > 0))
        mask = _around(first, task.seeds.shape, edges)
    known = np.zeros(mask.shape, np.int8)
    for click in clicks:
        mask = _corrected(mask, click, known, edges)
        known[_distance(click, mask.shape) <= CLICK_RADIUS] = click[2]
    return mask


def _edges(image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the edge weights between neighbours by similarity of colour: (h, w - 1) across, (h - 1, w) down."""
    cv2 = opencv("proposed masks need")
    lab = cv2.cvtColor(image.astype(np.float32) / np.float32(255), cv2.COLOR_RGB2LAB)
    across = ((lab[:, 1:] - lab[:, :-1]) ** 2).sum(2)
    down = ((lab[1:] - lab[:-1]) ** 2).sum(2)
    mean = float((across.mean() + down.mean()) / 2) + 1e-6
    across, down = (np.exp(-steps / mean).astype(np.float32) + np.float32(1e-3) for steps in (across, down))
    return across, down


def _distance(click: Click, size: tuple[int, ...]) -> np.ndarray:
    y, x = np.ogrid[: size[0], : size[1]]
    distance: np.ndarray = np.hypot(x + 0.5 - click[0], y + 0.5 - click[1])
    return distance


def _around(click: Click, size: tuple[int, ...], edges: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
    """Return an object around a single click, with the border of the image as background."""
    known = np.full(size, -1, np.int8)
    known[1:-1, 1:-1] = 0
    known[_distance(click, size) <= FIRST_RADIUS] = 1
    return _walk(*edges, known, np.zeros(size, np.float32), np.full(size, BACKGROUND, np.float32)) > 0.5


def _corrected(mask: np.ndarray, click: Click, known: np.ndarray, edges: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
    """Return the mask corrected around a click. `known` (h, w) has the labels 1 and -1 of earlier clicks, else 0."""
    cv2 = opencv("proposed masks need")
    height, width = mask.shape
    wrong = mask != (click[2] > 0)
    depth = cv2.distanceTransform(np.pad(wrong, 1, constant_values=click[2] > 0).view(np.uint8), cv2.DIST_L2, 5)
    to_edge = depth[1 + min(height - 1, max(0, int(click[1]))), 1 + min(width - 1, max(0, int(click[0])))]
    reach = float(np.clip(to_edge, CLICK_RADIUS, MOST_WRONG * max(mask.shape)))
    distance = _distance(click, mask.shape)
    known = np.where(distance <= max(CLICK_RADIUS, SURE * reach), np.sign(click[2]), known)
    weight = np.clip((distance / reach - DOUBTFUL) / (KEPT - DOUBTFUL), 0, 1)
    trust = (LEAST_TRUST + TRUST * weight).astype(np.float32)
    near = distance <= 1.5 * KEPT * reach  # farther away nothing would change
    if not near.any():  # the click is far outside the image
        return mask
    rows, columns = (slice(*(np.flatnonzero(near.any(axis))[[0, -1]] + (0, 1))) for axis in (1, 0))
    part, (across, down) = (rows, columns), edges
    inner = slice(columns.start, columns.stop - 1), slice(rows.start, rows.stop - 1)
    probability = _walk(
        across[rows, inner[0]], down[inner[1], columns], known[part], mask[part].astype(np.float32), trust[part]
    )
    corrected = mask.copy()
    corrected[part] = probability > 0.5
    return corrected


def _walk(across: np.ndarray, down: np.ndarray, known: np.ndarray, prior: np.ndarray, trust: np.ndarray) -> np.ndarray:
    """Return the probability (h, w) that a random walk reaches the object first: (L + trust) x = trust * prior.

    Solved by preconditioned conjugate gradients. `across` (h, w - 1) and `down` (h - 1, w) are edge weights; x is 1
    where `known` is 1, and 0 where it is -1.
    """
    degree = trust.copy()
    degree[:, 1:] += across
    degree[:, :-1] += across
    degree[1:] += down
    degree[:-1] += down
    free = (known == 0).astype(np.float32)

    def multiply(x: np.ndarray) -> np.ndarray:
        product = degree * x
        product[:, 1:] -= across * x[:, :-1]
        product[:, :-1] -= across * x[:, 1:]
        product[1:] -= down * x[:-1]
        product[:-1] -= down * x[1:]
        return product

    fixed = (known > 0).astype(np.float32)
    x = np.where(known == 0, prior, fixed)
    residual = free * (trust * prior - multiply(x))
    conditioned = residual / degree
    direction, product = conditioned, float((residual * conditioned).sum())
    tolerance = 1e-5 * product
    for _ in range(ROUNDS):
        if product <= tolerance or product == 0:
            break
        mapped = free * multiply(direction)
        step = product / float((direction * mapped).sum())
        x, residual = x + step * direction, residual - step * mapped
        conditioned = residual / degree
        previous, product = product, float((residual * conditioned).sum())
        direction = conditioned + product / previous * direction
    return x
