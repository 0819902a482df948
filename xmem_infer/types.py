"""Values that cross rooms, and the axis letters used in every docstring.

O objects, H W pixels (padded to 16 inside the engine), h w = H/16 W/16, N memory tokens, Q = h*w query
tokens, C_k C_v C_h channels of key, value and sensory memory.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:  # masks and scores are read without waiting for torch
    from torch import Tensor


@dataclass(frozen=True)
class Frame:
    """One picture of a video.

    image: (H, W, 3) uint8 RGB. name: the stem under which its mask is saved. time_s: presentation time in
    seconds, None where the source has no clock. corrupt: why the picture could not be decoded (it then
    repeats the one before), None for a sound frame.
    """

    index: int
    name: str
    image: np.ndarray
    time_s: float | None = None
    corrupt: str | None = None


@dataclass(frozen=True)
class LabelMask:
    """A checked label image: labels (H, W) uint8, 0 = background; palette: 768 bytes or None; source for messages."""

    labels: np.ndarray
    palette: bytes | None = None
    source: str = "mask"


class KeyFeatures(NamedTuple):
    """What the key encoder gives for one image (1, C, ...): memory keys and image features by stride."""

    key: Tensor  # (1, C_k, h, w)
    shrinkage: Tensor  # (1, 1, h, w), >= 1
    selection: Tensor  # (1, C_k, h, w), in (0, 1)
    f16: Tensor
    f8: Tensor
    f4: Tensor


@dataclass(frozen=True)
class ObjectConfidence:
    """How sure the network is of one object in one frame.

    area_px: pixels of its mask. mean_probability: mean probability of the object inside its own mask, in
    [0, 1], 0 where the mask is empty. lost: the object has no pixel in this frame.
    """

    area_px: int
    mean_probability: float
    lost: bool
