"""Masks passed by library users: files, arrays, tensors or images, keyed by frame name or index."""

from collections import UserDict
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, SupportsIndex

import numpy as np
from PIL import Image
from torch import Tensor

from ..errors import UsageError
from ..types import LabelMask
from .frames import FrameSource, frame_name
from .mask_colours import ColourIds
from .masks import as_mask, check_mask

MaskLike = LabelMask | np.ndarray | Tensor | Image.Image | str | Path


class CheckedMasks(UserDict[str, Any]):
    """The masks of a video by frame name; each mask is read and checked on access."""

    def __init__(self, source: FrameSource, first: MaskLike, later: Mapping[Any, MaskLike], max_pixels: int) -> None:
        """Raise UsageError if the first mask does not match the video or a key of `later` matches no frame."""
        self.max_pixels, self.size, self.colours = max_pixels, source.size, ColourIds()
        first_name = frame_name(source, 0)
        super().__init__({first_name: as_mask(first, max_pixels, self.colours)})
        self[first_name]  # checks the first mask now, before any frame is processed
        for key, name in frame_names(source, later, "later_masks").items():
            if name == first_name:
                raise UsageError(f"later_masks has a mask of the first frame ({key!r}), which `mask` gives")
            self[name] = later[key]

    def __getitem__(self, frame: str) -> LabelMask:
        mask = as_mask(self.data[frame], self.max_pixels, self.colours)
        check_mask(mask, self.size)
        return mask


def frame_names(source: FrameSource, keys: Iterable[str | int], what: str) -> dict[str | int, str]:
    """Return the name of the frame that each key refers to.

    Keys are frame names, or indices from 0; if the length of the video is unknown, any index is accepted. Raises
    UsageError if a key of the argument `what` matches no frame, or if two keys match the same frame.
    """
    names: dict[str | int, str] = {}
    for key in [keys] if isinstance(keys, str) else keys:
        if isinstance(key, str) and source.stems is not None:
            name = key if key in source.stems else None
        else:
            name = _numbered_frame(source, int(key) if isinstance(key, str) and key.isdecimal() else key)
        if name is None:
            hint = f"such as {frame_name(source, 0)!r}" + ("" if source.count is None else f" of {source.count}")
            raise UsageError(f"{what} has {key!r}, no frame of {source.name}: give a name, {hint}, or an index from 0")
        if name in names.values():
            raise UsageError(f"{what} has frame {name!r} of {source.name} twice")
        names[key] = name
    return names


def _numbered_frame(source: FrameSource, index: object) -> str | None:
    if isinstance(index, bool) or not isinstance(index, SupportsIndex):
        return None
    number = index.__index__()
    return frame_name(source, number) if number >= 0 and (source.count is None or number < source.count) else None
