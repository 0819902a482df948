"""Values that cross rooms, and the axis letters used in every docstring.

O objects, H W pixels (padded to 16 inside the engine), h w = H/16 W/16, N memory tokens, Q = h*w query
tokens, C_k C_v C_h channels of key, value and sensory memory.
"""

from dataclasses import dataclass

import numpy as np

from .errors import UsageError


@dataclass(frozen=True)
class Frame:
    """One picture of a video.

    Attributes:
        index: Position in the video, from 0.
        name: Stem of the file under which its mask is saved.
        image: (H, W, 3) uint8 RGB.
        time_s: Presentation time in seconds; None where the source has no clock.
        corrupt: Why the picture could not be decoded (it then repeats the one before); None for a sound frame.
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
    """A checked label image.

    Attributes:
        ids: (H, W) uint8, the object id of each pixel, 0 = background.
        palette: 768 bytes of RGB, or None.
        source: Where it came from, for messages.
    """

    ids: np.ndarray
    palette: bytes | None = None
    source: str = "mask"

    def __post_init__(self) -> None:
        ids = self.ids
        are_ids = ids.dtype == np.uint8 or (
            np.issubdtype(ids.dtype, np.integer) and ids.size and ids.min() >= 0 and ids.max() <= 255
        )
        if ids.ndim != 2 or not are_ids:
            raise UsageError(
                f"{self.source} must be of shape (height, width) with ids from 0 to 255, got {ids.shape} {ids.dtype}"
            )

    def __repr__(self) -> str:
        return f"LabelMask({self.source!r}, {self.ids.shape[1]}x{self.ids.shape[0]}, objects {self.object_ids()})"

    def object_ids(self) -> list[int]:
        """The ids that it shows, ascending, without 0."""
        return [object_id for object_id in np.unique(self.ids).tolist() if object_id]


@dataclass(frozen=True)
class ObjectConfidence:
    """How sure the network is of one object in one frame.

    Attributes:
        area_px: Pixels of its mask.
        mean_probability: Mean probability of the object inside its own mask, in [0, 1]; 0 where the mask is empty.
        lost: Whether the object has no pixel in this frame.
        key_distance: How far the network's keys inside the mask are from those where the object's mask was given: 1
            minus the cosine to the nearest; 0 where it is lost or given.
        drift: Signs that the mask has left the object (lost, jumped, area, appearance, unsure), see docs/evaluation.md.
        int8_differs: With runtime.precision=int8, the pixels in which its mask differed from that of fp32, in those of
            either mask; None where they were not compared.
    """

    area_px: int
    mean_probability: float
    lost: bool
    key_distance: float = 0.0
    drift: tuple[str, ...] = ()
    int8_differs: float | None = None
