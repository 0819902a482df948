"""The clip of an ablation: its frames, its first mask with any number of objects, its annotations."""

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
    """A checked clip. first: (H, W) uint8 labels of the first frame; annotations: by frame index, if there are any."""

    path: Path
    name: str
    size: tuple[int, int]
    count: int | None
    first: np.ndarray
    annotations: Mapping[int, Path]


def open_clip(video_dir: str | None, mask: str | None, data: DataConfig) -> Clip:
    """Find and check the video to measure. Raises UsageError if there are several, or if its mask has no object."""
    videos = find_videos(video_dir, mask, data)
    if len(videos) > 1:
        raise UsageError(
            f"video_dir={video_dir} holds {len(videos)} videos, an ablation measures one: "
            f"give one of them, such as video_dir={videos[0].path}"
        )
    video = replace(videos[0], all_masks=False).open(data)
    frames, first = video.frames, next(iter(video.masks.values()))
    try:
        files, _ = find_masks(replace(videos[0], all_masks=True), frames)
    except UsageError:
        files = {}  # masks of later frames are optional: without usable ones there is no J&F
    names = {frame_name(frames, index): index for index in range(frames.count or 0)}
    annotations = {names[stem]: path for stem, path in files.items() if stem in names}
    return Clip(video.path, video.name, frames.size, frames.count, first.ids, annotations)


def with_objects(labels: np.ndarray, wanted: int) -> tuple[np.ndarray, dict[int, int]]:
    """Return a first mask (H, W) uint8 with `wanted` objects, and by its labels the labels in `labels` they come from.

    If there are too many objects, those with the smallest labels are kept. If there are too few, the largest object is
    repeatedly cut in two across its longer side. Raises UsageError if the objects are too small for that.
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


def merge_parts(masks: np.ndarray, owner: Mapping[int, int]) -> np.ndarray:
    """Return masks (T, H, W) uint8 in which the parts of each object have its original label again."""
    table = np.zeros(256, np.uint8)
    table[list(owner)] = list(owner.values())
    return table[masks]
