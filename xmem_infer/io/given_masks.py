"""Masks passed by library users: files, arrays, tensors or images, keyed by frame name or index."""

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
    """The masks of a video by frame name; each mask is read and checked on access."""

    def __init__(self, source: FrameSource, first: MaskLike, later: Mapping[Any, MaskLike], max_pixels: int) -> None:
        """Raise UsageError if the first mask does not match the video or a key of `later` matches no frame."""
        self.max_pixels, self.size, self.colours = max_pixels, source.size, ColourIds()
        self.masks: dict[str, MaskLike] = {frame_name(source, 0): as_mask(first, max_pixels, self.colours)}
        self[frame_name(source, 0)]  # checks the first mask now, before any frame is processed
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
    """Return the name of the frame that each key refers to.

    Args:
        source: The video.
        keys: Frame names, or indices from 0. If the length of the video is unknown, any index is accepted.
        what: Name of the argument that holds the keys, for messages.

    Raises:
        UsageError: A key matches no frame, or two keys match the same frame.
    """
    names: dict[str | int, str] = {}
    for key in [keys] if isinstance(keys, str) else keys:
        name = _resolve_name(source, key)
        if name is None:
            hint = f"such as {frame_name(source, 0)!r}" + ("" if source.count is None else f" of {source.count}")
            raise UsageError(f"{what} has {key!r}, no frame of {source.name}: give a name, {hint}, or an index from 0")
        if name in names.values():
            raise UsageError(f"{what} has frame {name!r} of {source.name} twice")
        names[key] = name
    return names


def _resolve_name(source: FrameSource, key: object) -> str | None:
    if isinstance(key, str):
        if source.stems is not None:
            return key if key in source.stems else None
        key = int(key) if key.isdecimal() else None
    if isinstance(key, bool) or not isinstance(key, SupportsIndex):
        return None
    index = key.__index__()
    return frame_name(source, index) if index >= 0 and (source.count is None or index < source.count) else None
