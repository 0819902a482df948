"""A video's frames and given masks, opened and checked before a model is loaded."""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..config import DataConfig
from ..errors import UsageError, VideoError
from ..io.frames import FrameSource, open_frames
from ..io.listing import list_images, name_some
from ..types import LabelMask
from .discovery import VideoItem
from .later_masks import LaterMasks, present
from .mask_files import MaskFiles, find_masks, load_mask

LEAST_ANNOTATED = 3  # frames of a video that can be scored: the first and the last do not count


@dataclass(frozen=True, eq=False)
class Footage:
    """Frames and masks of a video at one resolution.

    first: mask of the first frame, empty where objects come later. later: by frame name. labels: of all
    objects. files: the masks' files. truth: folder of annotations to score with, None where there are none.
    """

    source: FrameSource
    path: Path
    first: LabelMask
    later: LaterMasks
    labels: frozenset[int]
    files: tuple[Path, ...]
    truth: Path | None

    def given(self, frame: str, index: int) -> LabelMask | None:
        """The mask given for a frame, None for most."""
        return self.first if index == 0 else self.later.get(frame)

    def require_same(self, other: "Footage") -> None:
        """Raise VideoError unless both have the same frames and objects."""
        ours, theirs = self.source.stems or [], other.source.stems or []
        differing = sorted(set(ours) ^ set(theirs))
        if differing:
            raise VideoError(
                f"{self.source.name}: {self.path} and {other.path} differ in frames ({name_some(differing)}), but are "
                "to be the same video at two resolutions"
            )
        if self.labels != other.labels:
            raise VideoError(
                f"{self.source.name}: the masks for {self.path} show objects {sorted(self.labels)}, those for "
                f"{other.path} {sorted(other.labels)}, but are to be the same at two resolutions"
            )

    def fingerprint(self, large: "Footage | None", saved: Iterable[str] | None) -> str:
        """Hash of what the video's result depends on besides settings and weights."""
        parts = [fingerprint(self.path, list(self.files))]
        if large is not None:
            parts.append(fingerprint(large.path, list(large.files)))
        if saved is not None:
            parts += sorted(saved)
        return parts[0] if len(parts) == 1 else hashlib.sha256("\n".join(parts).encode()).hexdigest()


def open_footage(item: VideoItem, data: DataConfig) -> tuple[Footage, list[str]]:
    """Open a video and check every mask given for it; also returns warnings.

    Raises UsageError and VideoError with what is wrong, where, and what to do.
    """
    source = open_frames(item.path, data)
    files = find_masks(item, source)
    first = load_mask(files.first, source, data)
    labels, new = set(present(first)), {}
    for frame, path in files.later.items():
        # Masks are read again at their frame; a bad one should be known before work starts.
        shown = present(load_mask(path, source, data))
        new[frame] = [label for label in shown if label not in labels]
        labels.update(shown)
    _refuse_unfit(item, source, files, labels)
    used = [files.first, *files.later.values()]
    warnings = [f"{first.source} is all zero: there is no object, every mask will be empty"] if not labels else []
    later, only = dict(files.later), new if item.new_objects_only else None
    if only is not None:
        later = {frame: path for frame, path in later.items() if only[frame]}
    if files.begins_at is not None:
        warnings.append(f"the first mask is that of frame {files.begins_at}; before it there is no object")
        later = {files.begins_at: files.first, **later}
        if only is not None:
            only[files.begins_at] = present(first)
        first = LabelMask(np.zeros_like(first.labels), first.palette, first.source)
    masks = LaterMasks(later, data.max_pixels, only)
    truth = item.truth or _truth(item, source, files)
    return Footage(source, item.path, first, masks, frozenset(labels), tuple(used), truth), warnings


def _refuse_unfit(item: VideoItem, source: FrameSource, files: MaskFiles, labels: set[int]) -> None:
    """Raise UsageError where frames or masks are not what the data set promises."""
    if item.one_object and len(labels) > 1:
        raise UsageError(
            f"{item.name}: {files.first} shows {len(labels)} objects, but this data set has one per video (masks of 0 "
            "and 255); are these annotations of another release?"
        )
    if item.saved is not None:
        unknown = sorted(item.saved - set(source.stems or []))
        if unknown:
            raise UsageError(
                f"{item.name}: {len(unknown)} of {len(item.saved)} frames whose masks are to be saved "
                f"({name_some(unknown)}) are missing in {item.path}"
            )


def _truth(item: VideoItem, source: FrameSource, files: MaskFiles) -> Path | None:
    """Masks beside the video of which only the first is used: the truth, where they are named after frames."""
    if item.all_masks or files.folder is None or source.stems is None:
        return None
    annotated = {file.stem for file in list_images(files.folder) if file.suffix.lower() == ".png"}
    return files.folder if len(annotated) >= LEAST_ANNOTATED and annotated <= set(source.stems) else None


def fingerprint(path: Path, masks: list[Path]) -> str:
    """Hash of what a video's result depends on, from names, sizes and times of change of its files."""
    files = sorted(path.iterdir()) if path.is_dir() else [path]
    digest = hashlib.sha256()
    for file in [*files, *masks]:
        stat = file.stat()
        digest.update(f"{file.name}\0{stat.st_size}\0{stat.st_mtime_ns}\n".encode())
    return digest.hexdigest()
