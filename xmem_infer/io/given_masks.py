"""Masks as a library user gives them: of several kinds, by the frame's name or index."""

from collections.abc import Iterable, Iterator, Mapping
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


class CheckedMasks(Mapping[str, LabelMask]):
    """The masks of a video by frame name, read and checked when they are asked for."""

    def __init__(self, source: FrameSource, first: MaskLike, later: Mapping[Any, MaskLike], max_pixels: int) -> None:
        """Raises UsageError for a first mask that does not fit, and for keys of later ones that mean no frame."""
        self.max_pixels, self.size, self.colours = max_pixels, source.size, ColourIds()
        self.masks: dict[str, MaskLike] = {frame_name(source, 0): as_mask(first, max_pixels, self.colours)}
        self[frame_name(source, 0)]  # checked now, not when its frame comes
        for key, name in frame_names(source, later, "later_masks").items():
            if name in self.masks:
                raise UsageError(f"later_masks has a mask of the first frame ({key!r}), which `mask` gives")
            self.masks[name] = later[key]

    def __getitem__(self, frame: str) -> LabelMask:
        mask = as_mask(self.masks[frame], self.max_pixels, self.colours)
        check_mask(mask, self.size)
        return mask

    def __iter__(self) -> Iterator[str]:
        return iter(self.masks)

    def __len__(self) -> int:
        return len(self.masks)


def frame_names(source: FrameSource, keys: Iterable[str | int], what: str) -> dict[str | int, str]:
    """The name of each frame that a key of the argument `what` means: its name, or its index (0 is the first).

    Where the length is not known before, no index is too high. Raises UsageError for what means no frame, or one twice.
    """
    names: dict[str | int, str] = {}
    for key in [keys] if isinstance(keys, str) else keys:
        name = _name_meant(source, key)
        if name is None:
            some = f"such as {frame_name(source, 0)!r}" + ("" if source.count is None else f" of {source.count}")
            raise UsageError(f"{what} has {key!r}, no frame of {source.name}: give a name, {some}, or an index from 0")
        if name in names.values():
            raise UsageError(f"{what} has frame {name!r} of {source.name} twice")
        names[key] = name
    return names


def _name_meant(source: FrameSource, key: object) -> str | None:
    if isinstance(key, str):
        if source.stems is not None:
            return key if key in source.stems else None
        key = int(key) if key.isdecimal() else None
    if isinstance(key, bool) or not isinstance(key, SupportsIndex):
        return None
    index = key.__index__()
    return frame_name(source, index) if index >= 0 and (source.count is None or index < source.count) else None
