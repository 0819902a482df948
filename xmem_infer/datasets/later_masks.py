"""Masks of later frames, read when their frame comes: a set may hold more than fits into memory."""

from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from ..io.masks import read_mask
from ..types import LabelMask


class LaterMasks(Mapping[str, LabelMask]):
    """Masks by frame name, each read anew at every look.

    files: by frame name. only: by frame name, the labels to keep of that mask, the rest becoming 0; None:
    masks are taken as they are. max_pixels: see DataConfig.
    """

    def __init__(self, files: Mapping[str, Path], max_pixels: int, only: Mapping[str, list[int]] | None = None):
        self.files = dict(files)
        self.max_pixels = max_pixels
        self.only = only

    def __getitem__(self, frame: str) -> LabelMask:
        mask = read_mask(self.files[frame], self.max_pixels)
        return mask if self.only is None else kept(mask, self.only[frame])

    def __contains__(self, frame: object) -> bool:
        return frame in self.files  # without reading the mask

    def __iter__(self) -> Iterator[str]:
        return iter(self.files)

    def __len__(self) -> int:
        return len(self.files)


class FlippedMasks(Mapping[str, LabelMask]):
    """The same masks, mirrored left to right."""

    def __init__(self, masks: Mapping[str, LabelMask]):
        self.masks = masks

    def __getitem__(self, frame: str) -> LabelMask:
        return flipped(self.masks[frame])

    def __contains__(self, frame: object) -> bool:
        return frame in self.masks

    def __iter__(self) -> Iterator[str]:
        return iter(self.masks)

    def __len__(self) -> int:
        return len(self.masks)


def present(mask: LabelMask) -> list[int]:
    """The labels that a mask shows, 0 left out."""
    return [label for label in np.unique(mask.labels).tolist() if label]


def kept(mask: LabelMask, labels: list[int]) -> LabelMask:
    """The mask with these labels alone."""
    return LabelMask(mask.labels * np.isin(mask.labels, labels), mask.palette, mask.source)


def flipped(mask: LabelMask) -> LabelMask:
    """The mask mirrored left to right."""
    return LabelMask(np.ascontiguousarray(mask.labels[:, ::-1]), mask.palette, mask.source)
