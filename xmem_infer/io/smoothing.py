"""Telling a label image from a picture of one: anti-aliased, blurred or JPEG-compressed masks.

Such masks hold values nobody drew, each of which would become an object. True label images do not, however
thin or small their objects are. Thresholds were set on 2,000 true label images (DAVIS, YouTube-VOS, COCO, BSDS
with up to 88 regions, also shrunk and relabelled), whose slopes make up at most 0.10 of the edge pixels and
speckles 0.03, and 2,000 spoilt ones. Not told apart: a resize that copies nearly every pixel, and small labels
(1 to 5) blurred so lightly that no new value appears.
"""

import numpy as np

SLOPE_SHARE = 0.15
SPECKLE_SHARE = 0.05
FEWEST_PX = 24  # below this there is too little to judge by
HALF_DIRECTIONS = ((0, 1), (1, 0), (1, 1), (1, -1))


def smoothed_values(labels: np.ndarray) -> int:
    """How many values make up the smoothed edges of `labels` (H, W) uint8; 0 where edges are clean.

    Slopes: many of the pixels at edges lie strictly between their neighbours left and right or above and below,
    with three values or more. Speckles (the ringing of JPEG): many are like none of their eight neighbours,
    with two values or more that do so repeatedly.
    """
    values = labels.astype(np.int16)
    flat = np.ones(values.shape, bool)
    slope = np.zeros(values.shape, bool)
    alone = np.ones(values.shape, bool)
    padded = np.pad(values, 1, constant_values=-1)  # outside the image
    height, width = values.shape

    def neighbour(down: int, right: int) -> np.ndarray:
        return padded[1 + down : 1 + down + height, 1 + right : 1 + right + width]

    for direction in HALF_DIRECTIONS:
        ahead, behind = neighbour(*direction), neighbour(-direction[0], -direction[1])
        alone &= (values != ahead) & (values != behind)
        if 0 in direction:  # not on diagonals, where the corners of neat patches meet
            inside = (ahead >= 0) & (behind >= 0)
            slope |= inside & (np.sign(values - ahead) * np.sign(values - behind) < 0)
            flat &= ((values == ahead) | (ahead < 0)) & ((values == behind) | (behind < 0))
    edges = max(1, int((~flat).sum()))

    def count(where: np.ndarray) -> np.ndarray:
        return np.bincount(labels[where], minlength=256)

    on_slopes, on_speckles = count(slope), count(alone)
    is_sloped = on_slopes.sum() >= max(FEWEST_PX, SLOPE_SHARE * edges) and (on_slopes > 0).sum() >= 3
    is_speckled = on_speckles.sum() >= max(FEWEST_PX, SPECKLE_SHARE * edges) and (on_speckles > 1).sum() >= 2
    return int(((on_slopes > 0) | (on_speckles > 0)).sum()) if is_sloped or is_speckled else 0
