"""The input of one video: paths of its frames and masks and, after `open`, the frames and masks themselves."""

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from ..config import DataConfig
from ..errors import UsageError, VideoError
from ..io.frames import IndexedFrames, frame_name, open_frames
from ..io.images import open_image
from ..io.listing import list_images, name_some
from ..io.mask_colours import ColourIds
from ..io.masks import check_mask, read_mask
from ..types import LabelMask
from .mask_files import find_masks

MIN_ANNOTATED = 3  # annotated frames needed for scoring, because the first and the last are not scored


@dataclass(eq=False)
class MaskFiles(Mapping[str, LabelMask]):
    """The given masks of a video by frame name, read from disk on every access because all may not fit in memory."""

    files: Mapping[str, Path]
    max_pixels: int
    colours: ColourIds
    only: Mapping[str, list[int]] | None = None  # by frame name, the object ids to keep; others become background

    def __getitem__(self, frame: str) -> LabelMask:
        mask = read_mask(self.files[frame], self.max_pixels, self.colours)
        if self.only is None:
            return mask
        return LabelMask(mask.ids * np.isin(mask.ids, self.only[frame]), mask.palette, mask.source)

    def __iter__(self) -> Iterator[str]:
        return iter(self.files)

    def __len__(self) -> int:
        return len(self.files)


@dataclass
class VideoInput:
    """One video of a run. Found by `discovery` or a data-set layout, then opened with `open`. Can be pickled."""

    name: str  # of the video's results
    path: Path  # folder of frames or video file
    mask: Path | None  # image or folder of masks; None looks for masks beside the video
    all_masks: bool  # whether masks of later frames are used too
    new_objects_only: bool = False  # whether of later masks only objects not seen before are used
    annotated: bool = False  # whether all masks are annotations of a data set
    may_start_late: bool = False  # whether the first mask may belong to a later frame than the first
    one_object: bool = False  # whether the data set has exactly one object per video, so that more are an error
    recalled: frozenset[int] = frozenset()  # objects in a loaded memory, which make a mask unnecessary
    absent: dict[int, list[tuple[int, int]]] = field(default_factory=dict)  # object id -> (first, last) frame indices
    saved: frozenset[str] | None = None  # names of the frames whose masks are saved; None saves all
    truth: Path | None = None  # folder of ground truth for scoring; `open` sets it if the masks can be used
    full_resolution: "VideoInput | None" = None  # the same video, read for working sizes other than 480

    # Set by `open`:
    frames: IndexedFrames = field(init=False, compare=False, repr=False)
    masks: MaskFiles = field(init=False, compare=False, repr=False)  # the given masks by frame name
    complete: frozenset[str] = field(init=False, compare=False, repr=False)  # frames whose mask shows every object
    palette: bytes | None = field(init=False, compare=False, repr=False)  # of the first mask, or the painted colours
    object_ids: frozenset[int] = field(init=False, compare=False, repr=False)
    fingerprint: str = field(init=False, compare=False, repr=False)  # hash of all that results depend on but settings
    warnings: list[str] = field(init=False, compare=False, repr=False)  # messages for the user about these inputs

    def open(self, data: DataConfig) -> "VideoInput":
        """Open the frames, read every mask once, so that invalid masks are reported before work starts, return `self`.

        Raises:
            UsageError: A mask is missing, unreadable, of the wrong size, or violates the rules of the data set.
            VideoError: The frames cannot be segmented, or the two resolutions do not match.
        """
        self.frames = open_frames(self.path, data)
        self.palette, self.warnings, colours = None, [], ColourIds()
        needs_mask = self.mask is not None or not self.recalled
        files, folder = find_masks(self, self.frames) if needs_mask else ({}, None)
        first = next(iter(files), None)
        seen: set[int] = set()
        new: dict[str, list[int]] = {}  # by frame, the objects that no earlier mask contains
        corrections = set()  # frames whose mask contains an object that an earlier mask has introduced
        is_painted = False
        for frame, path in files.items():
            mask = read_mask(path, data.max_pixels, colours)
            check_mask(mask, self.frames.size, f"the video {self.frames.name}")
            object_ids = mask.object_ids()
            new[frame] = [object_id for object_id in object_ids if object_id not in seen]
            if len(new[frame]) < len(object_ids):
                corrections.add(frame)
            seen.update(object_ids)
            if frame == first:
                self.palette, is_painted = mask.palette, colours.painted
        if is_painted:
            self.palette = colours.palette()
        self.object_ids = frozenset(seen) | self.recalled
        if first is not None:
            self._refuse_unfit(list(files.values()), seen)
            if first != frame_name(self.frames, 0):
                self.warnings.append(f"the first mask is that of frame {first}; before it there is no object")
            self.truth = self.truth or self._annotations(folder, files[first], data.max_pixels)
        used = files
        if self.new_objects_only:
            used = {frame: path for frame, path in files.items() if new[frame] or frame == first}
        self.masks = MaskFiles(used, data.max_pixels, colours, new if self.new_objects_only else None)
        if data.complete_masks is None:  # an annotation that only introduces new objects may leave out the others
            self.complete = frozenset(corrections if self.annotated else ())
        else:
            self.complete = frozenset(files if data.complete_masks else ())
        parts = [_hash_files(self.path, list(files.values()))]
        if self.full_resolution is not None:
            self.full_resolution.open(data)
            self._require_same(self.full_resolution)
            parts.append(self.full_resolution.fingerprint)
        parts += sorted(self.saved or ())
        if self.absent:
            parts.append(str(sorted(self.absent.items())))
        self.fingerprint = parts[0] if len(parts) == 1 else hashlib.sha256("\n".join(parts).encode()).hexdigest()
        return self

    def is_saved(self, frame: str) -> bool:
        """Return whether the mask of this frame is saved."""
        return self.saved is None or frame in self.saved

    @property
    def saved_count(self) -> int | None:
        """Number of masks that are saved; None if unknown."""
        return self.frames.count if self.saved is None else len(self.saved)

    def _refuse_unfit(self, files: list[Path], seen: set[int]) -> None:
        if not seen:
            others = f" and so are the {len(files) - 1} masks after it" if len(files) > 1 else ""
            raise UsageError(f"mask {files[0]} is all zero{others}: there is no object to follow")
        if self.one_object and len(self.object_ids) > 1:
            raise UsageError(
                f"{self.name}: {files[0]} shows {len(self.object_ids)} objects, but this data set has one per video "
                "(masks of 0 and 255); are these annotations of another release?"
            )
        unknown = sorted((self.saved or frozenset()) - set(self.frames.stems or []))
        if unknown:
            raise UsageError(
                f"{self.name}: {len(unknown)} of {len(self.saved or ())} frames whose masks are to be saved "
                f"({name_some(unknown)}) are missing in {self.path}"
            )

    def _annotations(self, folder: Path | None, first: Path, max_pixels: int) -> Path | None:
        """Return the folder if it can be ground truth: only its first mask is given, all are named after frames."""
        if self.all_masks or folder is None or self.frames.stems is None:
            return None
        annotated = {file.stem for file in list_images(folder) if file.suffix.lower() == ".png"}
        if len(annotated) < MIN_ANNOTATED or not annotated <= set(self.frames.stems):
            return None
        with open_image(first, max_pixels) as image:
            if image.mode not in ("P", "L", "1"):
                self.warnings.append(
                    f"the masks in {folder} are not scored: they hold pixels of mode {image.mode}, and annotations are "
                    "8-bit greyscale or palette"
                )
                return None
        return folder

    def _require_same(self, other: "VideoInput") -> None:
        if differing := sorted(set(self.frames.stems or []) ^ set(other.frames.stems or [])):
            raise VideoError(
                f"{self.frames.name}: {self.path} and {other.path} differ in frames ({name_some(differing)}), but are "
                "to be the same video at two resolutions"
            )
        if self.object_ids != other.object_ids:
            raise VideoError(
                f"{self.frames.name}: the masks for {self.path} show objects {sorted(self.object_ids)}, those for "
                f"{other.path} {sorted(other.object_ids)}, but are to be the same at two resolutions"
            )


def _hash_files(path: Path, masks: list[Path]) -> str:
    """Hash the names, sizes and modification times of a video's frames and masks; other files are ignored."""
    files = sorted(list_images(path)) if path.is_dir() else [path]
    digest = hashlib.sha256()
    for file in [*files, *masks]:
        try:
            stat = file.stat()
        except OSError:  # a broken link; reading it fails later if it is a frame
            stat = file.lstat()
        digest.update(f"{file.name}\0{stat.st_size}\0{stat.st_mtime_ns}\n".encode())
    return digest.hexdigest()
