"""Data classes shared by all packages, and the dimension names used in docstrings.

O: objects; H, W: height and width in pixels (padded to multiples of 16 inside the engine); h, w: H / 16, W / 16;
N: memory tokens; Q = h * w: query tokens; C_k, C_v, C_h: channels of key, value and sensory memory.
"""

from dataclasses import dataclass

import numpy as np

from .errors import UsageError


@dataclass(frozen=True)
class Frame:
    """One frame of a video.

    Attributes:
        index: Index of the frame in the video, from 0.
        name: Name of the frame; its mask is saved under this name.
        image: (H, W, 3) uint8 RGB.
        time_s: Presentation time in seconds; None if the source has no timestamps.
        corrupt: Why the frame could not be decoded, in which case `image` is that of the last readable frame before
            it; None if it was decoded.
    """

    index: int
    name: str
    image: np.ndarray
    time_s: float | None = None
    corrupt: str | None = None

    def __repr__(self) -> str:
        return f"Frame({self.index}, {self.name!r}, {self.image.shape[1]}x{self.image.shape[0]})"


@dataclass(frozen=True)
class LabelMask:
    """A label image: the object id of each pixel.

    Attributes:
        ids: (H, W) uint8, the object id of each pixel, 0 = background.
        palette: Palette of 768 bytes (RGB), or None.
        source: Origin of the mask, for messages.

    Raises:
        UsageError: `ids` is not of shape (H, W) or contains values other than integers from 0 to 255.
    """

    ids: np.ndarray
    palette: bytes | None = None
    source: str = "mask"

    def __post_init__(self) -> None:
        ids, values = self.ids, ""
        if np.issubdtype(ids.dtype, np.integer) and ids.size:
            if ids.ndim == 2 and ids.min() >= 0 and ids.max() <= 255:
                return
            values = f", values from {ids.min()} to {ids.max()}"
        raise UsageError(
            f"{self.source} must be of shape (height, width) with integer ids from 0 to 255, "
            f"got shape {ids.shape}, type {ids.dtype}{values}"
        )

    def __repr__(self) -> str:
        return f"LabelMask({self.source!r}, {self.ids.shape[1]}x{self.ids.shape[0]}, objects {self.object_ids()})"

    def object_ids(self) -> list[int]:
        """Return the ids in the mask in ascending order, without 0."""
        return [object_id for object_id in np.unique(self.ids).tolist() if object_id]


@dataclass(frozen=True)
class ObjectConfidence:
    """The confidence of the network in one object in one frame.

    Attributes:
        area_px: Number of pixels in the object's mask.
        mean_probability: Mean probability of the object inside its mask, in [0, 1]; 0 if the mask is empty.
        lost: Whether the mask is empty.
        key_distance: Distance of the network's keys inside the mask from those inside the object's given masks, as 1
            minus the cosine similarity with the nearest one; 0 if the object is lost or its mask was given.
        drift: Signs that the mask has left the object (lost, jumped, area, appearance, unsure), see docs/evaluation.md.
        int8_differs: With runtime.precision=int8, the share of pixels in the union of the int8 and the fp32 mask in
            which the two differ; None if they were not compared.
    """

    area_px: int
    mean_probability: float
    lost: bool
    key_distance: float = 0.0
    drift: tuple[str, ...] = ()
    int8_differs: float | None = None
