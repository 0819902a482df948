"""A mask of one object from a box and clicks: GrabCut on colours, or a random walker on the network's keys.

A caller gives the box, the clicks so far and the mask so far; nothing is kept between two calls.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from .errors import UsageError
from .io.opencv import opencv
from .predictor import Segmenter
from .registry import Registry
from .types import Frame, LabelMask

Box = tuple[float, float, float, float]
Click = tuple[float, float, int]

LONG_SIDE = 320  # px; the part of the picture that matters is made smaller to this for the work
MARGIN = 0.2  # of the object's longer side, looked at around it
KEY_STEP = 4  # px of the smaller picture
CLICK_RADIUS = 2.5  # px of the smaller picture, that a click speaks for
GRABCUT_ROUNDS = 2
LEAST_SHARE = 0.15  # of the mask it started from; less is no object
PRIOR = 0.1  # how much the walker trusts keys and the mask so far, in weights of an edge
REACH = 0.12  # of the longer side: so far around a click the mask so far is not trusted
ROUNDS = 150  # of conjugate gradients, at most


@dataclass(frozen=True)
class Task:
    """What a way works on: the part of the picture around the object, made smaller.

    Attributes:
        image: (h, w, 3) uint8 RGB.
        seeds: (h, w) int8, 1 where clicked as the object, -1 where clicked as none, 0 elsewhere.
        mask: (h, w) bool, the mask so far; None: there is none.
        inside: (h, w) bool, where the object can be: within the box.
        keys: (h', w', C) float32, the network's keys, KEY_STEP px apart; None where none were given.
    """

    image: np.ndarray
    seeds: np.ndarray
    mask: np.ndarray | None
    inside: np.ndarray
    keys: np.ndarray | None


WAYS: Registry[Callable[[Task], np.ndarray]] = Registry("way to propose a mask", "way")


def propose(
    way: str,
    image: np.ndarray,
    mask: np.ndarray | None = None,
    box: Box | None = None,
    clicks: Sequence[Click] = (),
    keys: np.ndarray | None = None,
) -> np.ndarray:
    """The mask of one object as a box, clicks and the mask so far suggest it.

    Args:
        way: One of WAYS.
        image: (H, W, 3) uint8 RGB.
        mask: (H, W) bool, the object's mask so far, which is corrected around the clicks; None: from the start.
        box: x0, y0, x1, y1 in px around the object; None: it may be anywhere.
        clicks: x and y in px, and 1 for the object or -1 for what is none of it.
        keys: (h, w, C) float32, the network's keys of the picture, which `walker` needs: see `frame_keys`.

    Returns:
        (H, W) bool.

    Raises:
        UsageError: Neither box, mask nor a click on the object; no keys where they are needed.
    """
    work = WAYS[way]
    if box is None and mask is None and not any(sign > 0 for _, _, sign in clicks):
        raise UsageError("mark the object first: a box around it, or a click on it")
    cv2 = opencv("proposed masks need")
    left, top, right, bottom = _region(image.shape[:2], mask, box, clicks)
    cut = (slice(top, bottom), slice(left, right))
    size = (bottom - top, right - left)
    scale = min(1.0, LONG_SIDE / max(size))
    height, width = max(2, round(size[0] * scale)), max(2, round(size[1] * scale))

    def smaller(values: np.ndarray) -> np.ndarray:
        resized: np.ndarray = cv2.resize(values, (width, height), interpolation=cv2.INTER_AREA)
        return resized

    y, x = np.mgrid[:height, :width] + 0.5
    x, y = left + x * size[1] / width, top + y * size[0] / height
    inside = np.ones((height, width), bool)
    if box is not None:
        inside = (x >= box[0]) & (x <= box[2]) & (y >= box[1]) & (y <= box[3])
    seeds = np.zeros((height, width), np.int8)
    for at_x, at_y, sign in clicks:
        seeds[(x - at_x) ** 2 + (y - at_y) ** 2 <= (CLICK_RADIUS * max(1.0, 1 / scale)) ** 2] = np.sign(sign)
    before = None if mask is None else smaller(mask[cut].astype(np.float32)) > 0.5
    coarse = (max(1, height // KEY_STEP), max(1, width // KEY_STEP))
    seen = None if keys is None else _keys_of(keys, image.shape[:2], cut, coarse)
    found = work(Task(smaller(image[cut]), seeds, before, inside | (seeds > 0), seen)) & (seeds >= 0) | (seeds > 0)
    result = np.zeros(image.shape[:2], bool) if mask is None else mask.copy()
    sharp = cv2.resize(found.astype(np.float32), size[::-1], interpolation=cv2.INTER_LINEAR) > 0.5
    if mask is None or not clicks:
        result[cut] = sharp
    else:
        result[cut] = _changed_at_clicks(mask[cut], sharp, [(x - left, y - top) for x, y, _ in clicks[-1:]])
    return result


def frame_keys(segmenter: Segmenter, image: np.ndarray) -> np.ndarray:
    """The network's keys of a picture (H, W, 3) uint8 RGB, for `propose`: (h, w, C) float32."""
    state, everything = segmenter.start(), LabelMask(np.ones(image.shape[:2], np.uint8))
    with torch.no_grad():
        segmenter.predict(state, Frame(0, "0", image), everything, end=True)
    assert state.key is not None, "an object was given"
    keys: np.ndarray = state.key[0].permute(1, 2, 0).float().cpu().numpy()
    return keys


def _region(
    size: tuple[int, ...], mask: np.ndarray | None, box: Box | None, clicks: Sequence[Click]
) -> tuple[int, int, int, int]:
    """Left, top, right and bottom of what is looked at; everything where clicks alone tell of the object."""
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
    left, top = max(0, int(x0 - margin)), max(0, int(y0 - margin))
    return left, top, max(left + 2, min(width, int(x1 + margin) + 1)), max(top + 2, min(height, int(y1 + margin) + 1))


def _keys_of(keys: np.ndarray, size: tuple[int, ...], cut: tuple[slice, slice], wanted: tuple[int, int]) -> np.ndarray:
    """The keys of a part of the picture on a grid of the size wanted, linear between tokens."""
    cv2 = opencv("proposed masks need")
    step_y, step_x = keys.shape[0] / size[0], keys.shape[1] / size[1]
    rows = cut[0].start + (np.arange(wanted[0]) + 0.5) * (cut[0].stop - cut[0].start) / wanted[0]
    columns = cut[1].start + (np.arange(wanted[1]) + 0.5) * (cut[1].stop - cut[1].start) / wanted[1]
    map_x, map_y = np.meshgrid(columns * step_x - 0.5, rows * step_y - 0.5)
    planes = [
        cv2.remap(
            plane, map_x.astype(np.float32), map_y.astype(np.float32), cv2.INTER_LINEAR, None, cv2.BORDER_REPLICATE
        )
        for plane in np.ascontiguousarray(keys.transpose(2, 0, 1))
    ]
    return np.stack(planes, axis=2)


def _changed_at_clicks(before: np.ndarray, after: np.ndarray, clicks: Sequence[tuple[float, float]]) -> np.ndarray:
    """`before` with those connected changes taken over that a click lies in."""
    cv2 = opencv("proposed masks need")
    _, parts = cv2.connectedComponents((before ^ after).astype(np.uint8))
    height, width = before.shape
    hit = {int(parts[min(height - 1, int(y)), min(width - 1, int(x))]) for x, y in clicks} - {0}
    return before ^ np.isin(parts, list(hit)) if hit else after


@WAYS.register("grabcut")
def grabcut(task: Task) -> np.ndarray:
    """GrabCut (Rother et al., SIGGRAPH 2004): colours of object and background by turns with a cut at edges."""
    cv2 = opencv("proposed masks need")
    start = _ellipse(task.inside) if task.mask is None else task.mask
    labels = np.where(start, cv2.GC_PR_FGD, cv2.GC_PR_BGD).astype(np.uint8)
    labels[~task.inside] = cv2.GC_BGD
    labels[task.seeds > 0], labels[task.seeds < 0] = cv2.GC_FGD, cv2.GC_BGD
    is_object = (labels == cv2.GC_FGD) | (labels == cv2.GC_PR_FGD)
    if is_object.all() or not is_object.any():  # nothing to learn the other's colours from
        return is_object
    cv2.setRNGSeed(0)
    bgr = np.ascontiguousarray(task.image[..., ::-1])
    cv2.grabCut(bgr, labels, None, np.zeros((1, 65)), np.zeros((1, 65)), GRABCUT_ROUNDS, cv2.GC_INIT_WITH_MASK)
    found: np.ndarray = (labels == cv2.GC_FGD) | (labels == cv2.GC_PR_FGD)
    return found if found.sum() >= LEAST_SHARE * start.sum() else start  # it found one colour of both


def _ellipse(inside: np.ndarray, share: float = 1.0) -> np.ndarray:
    """The ellipse in the box, its axes times `share`: most objects leave the corners of their box free."""
    rows, columns = np.flatnonzero(inside.any(1)), np.flatnonzero(inside.any(0))
    y, x = np.ogrid[: inside.shape[0], : inside.shape[1]]
    middle_y, middle_x = (rows[0] + rows[-1]) / 2, (columns[0] + columns[-1]) / 2
    high, wide = max(1.0, share * len(rows) / 2), max(1.0, share * len(columns) / 2)
    found: np.ndarray = ((y - middle_y) / high) ** 2 + ((x - middle_x) / wide) ** 2 <= 1
    return found


@WAYS.register("walker")
def walker(task: Task) -> np.ndarray:
    """A random walker (Grady, PAMI 2006) that starts from clicks and box, with a prior of the network's keys."""
    if task.keys is None:
        raise UsageError("way=walker needs the network's keys of the frame")
    cv2 = opencv("proposed masks need")
    lab = cv2.cvtColor(task.image.astype(np.float32) / np.float32(255), cv2.COLOR_RGB2LAB)
    across = ((lab[:, 1:] - lab[:, :-1]) ** 2).sum(2)
    down = ((lab[1:] - lab[:-1]) ** 2).sum(2)
    usual = float((across.mean() + down.mean()) / 2) + 1e-6
    across, down = (np.exp(-steps / usual).astype(np.float32) + np.float32(1e-3) for steps in (across, down))
    known = np.where(task.inside, task.seeds, -1)
    prior, trust = _prior(task)
    return _walk(across, down, known, prior, np.float32(PRIOR) * trust) > 0.5


def _prior(task: Task) -> tuple[np.ndarray, np.ndarray]:
    """How likely each pixel is of the object, by its key and the mask so far, and how far to trust that."""
    assert task.keys is not None
    cv2 = opencv("proposed masks need")
    is_object, is_other = task.seeds > 0, (task.seeds < 0) | ~task.inside
    if task.mask is not None:
        is_object, is_other = is_object | (task.mask & (task.seeds == 0)), is_other | (~task.mask & (task.seeds == 0))
    grid = (task.keys.shape[1], task.keys.shape[0])

    keys = task.keys

    def examples(where: np.ndarray) -> np.ndarray:
        share = cv2.resize(where.astype(np.float32), grid, interpolation=cv2.INTER_AREA)
        return keys[share > min(0.5, float(share.max()) - 1e-6)] if where.any() else keys[:0, 0]

    far = _distance(task.keys, examples(is_other))
    if not is_object.any():
        is_object = _ellipse(task.inside, 0.5)
    near = _distance(task.keys, examples(is_object))
    prior = far / (near + far + 1e-6)
    size = task.seeds.shape[::-1]
    prior, trust = cv2.resize(prior, size, interpolation=cv2.INTER_LINEAR), np.ones(task.seeds.shape, np.float32)
    if task.mask is not None:
        away = cv2.distanceTransform((task.seeds == 0).astype(np.uint8), cv2.DIST_L2, 3) / max(size)
        kept = np.clip(away / REACH, 0, 1)
        prior, trust = kept * task.mask + (1 - kept) * prior, 1 + 4 * kept
    return prior.astype(np.float32), trust.astype(np.float32)


def _distance(keys: np.ndarray, examples: np.ndarray, most: int = 256) -> np.ndarray:
    """Squared distance of each key to the nearest of some examples; 1 where there are none."""
    if not len(examples):
        return np.ones(keys.shape[:2], np.float32)
    examples = examples[np.linspace(0, len(examples) - 1, min(most, len(examples))).astype(int)]
    flat = keys.reshape(-1, keys.shape[2])
    squared = (flat**2).sum(1)[:, None] + (examples**2).sum(1)[None] - 2 * flat @ examples.T
    nearest: np.ndarray = np.maximum(squared.min(1), 0).reshape(keys.shape[:2])
    return nearest


def _walk(across: np.ndarray, down: np.ndarray, known: np.ndarray, prior: np.ndarray, trust: np.ndarray) -> np.ndarray:
    """Probability (h, w) that a walker reaches the object first: (L + trust) x = trust * prior, by conjugate gradients.

    across (h, w - 1) and down (h - 1, w) are the weights of the edges; x is 1 and 0 where `known` is 1 and -1.
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
    least = 1e-5 * product
    for _ in range(ROUNDS):
        if product <= least or product == 0:
            break
        moved = free * multiply(direction)
        step = product / float((direction * moved).sum())
        x, residual = x + step * direction, residual - step * moved
        conditioned = residual / degree
        before, product = product, float((residual * conditioned).sum())
        direction = conditioned + product / before * direction
    return x
