"""The clip of an ablation: its first frames, its first mask with any number of objects, its annotations."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

import numpy as np

from ...config import DataConfig
from ...datasets.discovery import find_videos
from ...datasets.mask_files import find_masks
from ...errors import UsageError
from ...io.frames import FrameSource, open_frames
from ...io.listing import numbered_name
from ...io.masks import check_mask, read_mask
from ...types import Frame, LabelMask


@dataclass(frozen=True)
class Clip:
    """A checked clip. first: (H, W) uint8 labels; annotations: by frame index, as far as they were found."""

    path: Path
    name: str
    size: tuple[int, int]
    count: int | None
    first: np.ndarray
    annotations: Mapping[int, Path]


def open_clip(video_dir: str | None, mask: str | None, data: DataConfig) -> Clip:
    """Find and check the one video that is measured. Raises UsageError where there are several, or no object."""
    items = find_videos(video_dir, mask, data)
    if len(items) > 1:
        raise UsageError(
            f"video_dir={video_dir} holds {len(items)} videos, an ablation measures one: "
            f"give one of them, such as video_dir={items[0].path}"
        )
    source = open_frames(items[0].path, data)
    first = _load(next(iter(find_masks(items[0], source)[0].values())), source, data)
    if not np.any(first.ids):
        raise UsageError(f"{first.source} is all zero: without an object nothing is segmented or measured")
    annotations: dict[int, Path] = {}
    try:
        files, _ = find_masks(replace(items[0], all_masks=True), source)
        stems = source.stems or [numbered_name(index, source.count) for index in range(source.count or 0)]
        places = {stem: index for index, stem in enumerate(stems)}
        annotations = {places[stem]: path for stem, path in files.items() if stem in places}
        for path in annotations.values():
            _load(path, source, data)
    except UsageError:
        annotations = {}  # without usable masks of later frames there is no J&F, and no fault either
    return Clip(items[0].path, items[0].name, source.size, source.count, first.ids, annotations)


def _load(path: Path, source: FrameSource, data: DataConfig) -> LabelMask:
    mask = read_mask(path, data.max_pixels)
    check_mask(mask, source.size, f"the video {source.name}")
    return mask


def with_objects(labels: np.ndarray, wanted: int) -> tuple[np.ndarray, dict[int, int]]:
    """A first mask (H, W) uint8 with `wanted` objects, and the label in `labels` that each belongs to.

    Too many: those with the smallest labels stay. Too few: the largest is cut in two across its longer side,
    again and again. Raises UsageError where the objects are too small for that.
    """
    kept = [int(label) for label in np.unique(labels) if label][:wanted]
    result = np.where(np.isin(labels, kept), labels, 0).astype(np.uint8)
    owner = {label: label for label in kept}
    free = iter(sorted(set(range(1, 256)) - set(np.unique(labels).tolist())))
    while len(owner) < wanted:
        areas = {label: int(np.count_nonzero(result == label)) for label in owner}
        largest = max(areas, key=lambda label: areas[label])
        part = next(free, None)
        if areas[largest] < 2 or part is None:
            raise UsageError(f"ablate.objects={wanted}: the first mask is too small to be cut into so many objects")
        rows, columns = np.nonzero(result == largest)
        order = np.lexsort((columns, rows) if np.ptp(rows) >= np.ptp(columns) else (rows, columns))
        cut = order[order.size // 2 :]
        result[rows[cut], columns[cut]] = part
        owner[part] = owner[largest]
    return result, owner


def merged(masks: np.ndarray, owner: Mapping[int, int]) -> np.ndarray:
    """Masks (T, H, W) uint8 with the parts of each object under its own label again."""
    table = np.zeros(256, np.uint8)
    for part, label in owner.items():
        table[part] = label
    return table[masks]


class FirstFrames:
    """The first `count` frames of a source, as a source of its own; the last of them ends the video."""

    def __init__(self, source: FrameSource, count: int):
        self._source = source
        self.name, self.size, self.fps, self.warnings = source.name, source.size, source.fps, source.warnings
        self.count: int | None = count
        self.incomplete = False  # what comes after the first frames is nobody's business
        self.stems = None if source.stems is None else source.stems[:count]

    def __iter__(self) -> Iterator[Frame]:
        return islice(iter(self._source), self.count)
