"""Detect masks that were anti-aliased, blurred, resized with interpolation or JPEG-compressed.

Such masks contain intermediate values along edges, each of which would become an object. Valid label images do not,
however thin or small their objects are. The thresholds were chosen on 2,000 valid label images (DAVIS, YouTube-VOS,
COCO, BSDS with up to 88 regions, some of them shrunk and relabelled), in which slopes make up at most 0.10 of the
edge pixels and speckles at most 0.03, and on 2,000 damaged ones. Not detected: a resize that copies nearly every
pixel, and low ids (1 to 5) blurred so slightly that no new value appears.
"""

import numpy as np

SLOPE_SHARE = 0.15
SPECKLE_SHARE = 0.05
MIN_PX = 24  # with fewer pixels than this on slopes or speckles, a mask passes
HALF_DIRECTIONS = ((0, 1), (1, 0), (1, 1), (1, -1))


def smoothed_values(labels: np.ndarray) -> int:
    """Count the distinct values on smoothed edges of `labels` (H, W) uint8; 0 if its edges are sharp.

    A mask is smoothed if many of its edge pixels are slopes or speckles. Slopes lie strictly between their left and
    right or their upper and lower neighbours; at least three values must occur on them. Speckles, the ringing
    artefacts of JPEG, differ from all eight neighbours; at least two values must occur on them repeatedly.
    """
    values = labels.astype(np.int16)
    flat = np.ones(values.shape, bool)
    slope = np.zeros(values.shape, bool)
    speckle = np.ones(values.shape, bool)
    padded = np.pad(values, 1, constant_values=-1)  # -1 marks pixels outside the image
    height, width = values.shape

    def neighbour(down: int, right: int) -> np.ndarray:
        return padded[1 + down : 1 + down + height, 1 + right : 1 + right + width]

    for direction in HALF_DIRECTIONS:
        ahead, behind = neighbour(*direction), neighbour(-direction[0], -direction[1])
        speckle &= (values != ahead) & (values != behind)
        if 0 in direction:  # not diagonally, where sharp corners of neighbouring regions can look like slopes
            inside = (ahead >= 0) & (behind >= 0)
            slope |= inside & (np.sign(values - ahead) * np.sign(values - behind) < 0)
            flat &= ((values == ahead) | (ahead < 0)) & ((values == behind) | (behind < 0))
    edges = max(1, int((~flat).sum()))

    on_slopes, on_speckles = (np.bincount(labels[pixels], minlength=256) for pixels in (slope, speckle))
    is_sloped = on_slopes.sum() >= max(MIN_PX, SLOPE_SHARE * edges) and (on_slopes > 0).sum() >= 3
    is_speckled = on_speckles.sum() >= max(MIN_PX, SPECKLE_SHARE * edges) and (on_speckles > 1).sum() >= 2
    return int(((on_slopes > 0) | (on_speckles > 0)).sum()) if is_sloped or is_speckled else 0
