"""The clip of an ablation: its first mask with any number of objects, its annotations."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from ...config import DataConfig
from ...datasets.discovery import find_videos
from ...datasets.mask_files import find_masks
from ...errors import UsageError
from ...io.frames import frame_name


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
    found = find_videos(video_dir, mask, data)
    if len(found) > 1:
        raise UsageError(
            f"video_dir={video_dir} holds {len(found)} videos, an ablation measures one: "
            f"give one of them, such as video_dir={found[0].path}"
        )
    video = replace(found[0], all_masks=False).open(data)
    frames, first = video.frames, next(iter(video.masks.values()))
    try:
        files, _ = find_masks(replace(found[0], all_masks=True), frames)
    except UsageError:
        files = {}  # without usable masks of later frames there is no J&F, and no fault either
    names = {frame_name(frames, index): index for index in range(frames.count or 0)}
    annotations = {names[stem]: path for stem, path in files.items() if stem in names}
    return Clip(video.path, video.name, frames.size, frames.count, first.ids, annotations)


def with_objects(labels: np.ndarray, wanted: int) -> tuple[np.ndarray, dict[int, int]]:
    """A first mask (H, W) uint8 with `wanted` objects, and the label in `labels` that each belongs to.

    Too many: those with the smallest labels stay. Too few: the largest is cut in two across its longer side,
    again and again. Raises UsageError where the objects are too small for that.
    """
    kept = [int(label) for label in np.unique(labels) if label][:wanted]
    result = np.where(np.isin(labels, kept), labels, 0).astype(np.uint8)
    owner = {label: label for label in kept}
    free = iter(np.setdiff1d(np.arange(1, 256), labels).tolist())
    while len(owner) < wanted:
        largest = max(owner, key=lambda label: np.count_nonzero(result == label))
        rows, columns = np.nonzero(result == largest)
        part = next(free, None)
        if rows.size < 2 or part is None:
            raise UsageError(f"ablate.objects={wanted}: the first mask is too small to be cut into so many objects")
        order = np.lexsort((columns, rows) if np.ptp(rows) >= np.ptp(columns) else (rows, columns))
        cut = order[order.size // 2 :]
        result[rows[cut], columns[cut]] = part
        owner[part] = owner[largest]
    return result, owner


def merged(masks: np.ndarray, owner: Mapping[int, int]) -> np.ndarray:
    """Masks (T, H, W) uint8 with the parts of each object under its own label again."""
    table = np.zeros(256, np.uint8)
    table[list(owner)] = list(owner.values())
    return table[masks]
