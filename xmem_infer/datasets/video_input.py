"""One video of a run: where its frames and masks lie, and, once opened, frames and masks themselves."""

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from ..config import DataConfig
from ..errors import UsageError, VideoError
from ..io.frames import IndexedFrames, frame_name, open_frames
from ..io.images import opened
from ..io.listing import list_images, name_some
from ..io.mask_colours import ColourIds
from ..io.masks import check_mask, read_mask
from ..types import LabelMask
from .mask_files import find_masks

LEAST_ANNOTATED = 3  # frames of a video that can be scored: the first and the last do not count


class MaskFiles(Mapping[str, LabelMask]):
    """The masks given for a video by frame name, read anew at every look: there may be more than fit into memory."""

    def __init__(
        self,
        files: Mapping[str, Path],
        max_pixels: int,
        colours: ColourIds,
        only: Mapping[str, list[int]] | None = None,
    ):
        """only: by frame name, the object ids to keep of that mask, the rest becoming 0; None: masks as they are."""
        self.files, self.max_pixels, self.colours, self.only = dict(files), max_pixels, colours, only

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
    """One video of a run, found by `discovery` or a data-set layout, opened by `open`. It pickles.

    Attributes:
        name: What its results are called.
        path: Folder of frames or video file.
        mask: Image or folder of masks given for it; None: looked for beside the video.
        all_masks: Whether masks of later frames are used too.
        new_objects_only: Whether a later mask gives ids not seen before, and nothing else.
        annotated: Whether all masks are a data set's annotations.
        may_start_late: Whether the first mask may be that of a later frame.
        one_object: Whether more than one object is a mistake.
        recalled: Ids of objects that a loaded memory knows, so that no mask is needed.
        absent: Where objects are absent although no mask says so: indices of first and last frames, by id.
        saved: Names of the frames whose masks are saved; None: all.
        truth: Folder of annotations to score with; filled by `open` where masks beside the video serve.
        full_resolution: The same frames and masks, read for working sizes other than 480.

    Known once opened:
        frames: The frames.
        masks: The given masks by frame name.
        complete: Names of the frames whose mask shows every object, so that one not painted is absent.
        palette: That of the first mask.
        object_ids: The ids of all objects.
        fingerprint: Hash of what the result depends on besides settings and weights.
        warnings: What the user should know about these inputs.
    """

    name: str
    path: Path
    mask: Path | None
    all_masks: bool
    new_objects_only: bool = False
    annotated: bool = False
    may_start_late: bool = False
    one_object: bool = False
    recalled: frozenset[int] = frozenset()
    absent: dict[int, list[tuple[int, int]]] = field(default_factory=dict)
    saved: frozenset[str] | None = None
    truth: Path | None = None
    full_resolution: "VideoInput | None" = None
    frames: IndexedFrames = field(init=False, compare=False, repr=False)
    masks: MaskFiles = field(init=False, compare=False, repr=False)
    complete: frozenset[str] = field(init=False, compare=False, repr=False)
    palette: bytes | None = field(init=False, compare=False, repr=False)
    object_ids: frozenset[int] = field(init=False, compare=False, repr=False)
    fingerprint: str = field(init=False, compare=False, repr=False)
    warnings: list[str] = field(init=False, compare=False, repr=False)

    def open(self, data: DataConfig) -> "VideoInput":
        """Open the frames and check every mask; a bad one should be known before work starts.

        Raises:
            UsageError: A mask that is missing, unreadable, of another size, or not what the data set promises.
            VideoError: Frames that cannot be segmented, or two resolutions that do not belong together.
        """
        self.frames = open_frames(self.path, data)
        if self.recalled and self.mask is None:
            return self._without_masks(data)
        files, folder = find_masks(self, self.frames)
        seen: set[int] = set()
        only: dict[str, list[int]] = {}
        colours = ColourIds()
        corrections = set()  # frames whose mask shows an object known by then
        for number, (frame, path) in enumerate(files.items()):
            mask = read_mask(path, data.max_pixels, colours)
            check_mask(mask, self.frames.size, f"the video {self.frames.name}")
            only[frame] = [one for one in mask.object_ids() if one not in seen or number == 0]
            if len(only[frame]) < len(mask.object_ids()):
                corrections.add(frame)
            seen.update(mask.object_ids())
            if number == 0:
                self.palette, is_painted = mask.palette, colours.painted
        if is_painted:
            self.palette = colours.palette()
        self.object_ids, first = frozenset(seen) | self.recalled, next(iter(files))
        if not seen:
            others = f" and so are the {len(files) - 1} masks after it" if len(files) > 1 else ""
            raise UsageError(f"mask {files[first]} is all zero{others}: there is no object to follow")
        self._refuse_unfit(files[first])
        self.warnings = []
        if first != frame_name(self.frames, 0):
            self.warnings.append(f"the first mask is that of frame {first}; before it there is no object")
        used = {frame: path for frame, path in files.items() if only[frame] or frame == first}
        self.masks = (
            MaskFiles(used, data.max_pixels, colours, only)
            if self.new_objects_only
            else MaskFiles(files, data.max_pixels, colours)
        )
        complete = self.annotated if data.complete_masks is None else data.complete_masks
        # Annotations may leave out objects where they only introduce others; who says so himself is taken at his word.
        self.complete = frozenset(() if not complete else corrections if data.complete_masks is None else files)
        self.truth = self.truth or self._annotations(folder, files[first], data.max_pixels)
        parts = [_hash_files(self.path, list(files.values()))]
        if self.full_resolution is not None:
            self.full_resolution.open(data)
            self._require_same(self.full_resolution)
            parts.append(self.full_resolution.fingerprint)
        parts += sorted(self.saved or ())
        if self.absent:
            parts.append(str(sorted(self.absent.items())))
        plain = self.full_resolution is None and self.saved is None and not self.absent
        self.fingerprint = parts[0] if plain else hashlib.sha256("\n".join(parts).encode()).hexdigest()
        return self

    def _without_masks(self, data: DataConfig) -> "VideoInput":
        self.masks, self.complete = MaskFiles({}, data.max_pixels, ColourIds()), frozenset()
        self.palette, self.object_ids, self.warnings = None, self.recalled, []
        self.fingerprint = _hash_files(self.path, [])
        return self

    def is_saved(self, frame: str) -> bool:
        """Whether the mask of this frame is among the results."""
        return self.saved is None or frame in self.saved

    @property
    def saved_count(self) -> int | None:
        """How many masks are saved, where that is known."""
        return self.frames.count if self.saved is None else len(self.saved)

    def _refuse_unfit(self, first: Path) -> None:
        if self.one_object and len(self.object_ids) > 1:
            raise UsageError(
                f"{self.name}: {first} shows {len(self.object_ids)} objects, but this data set has one per video "
                "(masks of 0 and 255); are these annotations of another release?"
            )
        unknown = sorted((self.saved or frozenset()) - set(self.frames.stems or []))
        if unknown:
            raise UsageError(
                f"{self.name}: {len(unknown)} of {len(self.saved or ())} frames whose masks are to be saved "
                f"({name_some(unknown)}) are missing in {self.path}"
            )

    def _annotations(self, folder: Path | None, first: Path, max_pixels: int) -> Path | None:
        """Masks beside the video of which only the first is used: the truth, where they are named after frames."""
        if self.all_masks or folder is None or self.frames.stems is None:
            return None
        annotated = {file.stem for file in list_images(folder) if file.suffix.lower() == ".png"}
        fits = len(annotated) >= LEAST_ANNOTATED and annotated <= set(self.frames.stems)
        if not fits:
            return None
        with opened(first, max_pixels) as image:
            if image.mode not in ("P", "L", "1"):
                self.warnings.append(
                    f"the masks in {folder} are not scored: they hold pixels of mode {image.mode}, and annotations are "
                    "8-bit greyscale or palette"
                )
                return None
        return folder

    def _require_same(self, other: "VideoInput") -> None:
        differing = sorted(set(self.frames.stems or []) ^ set(other.frames.stems or []))
        if differing:
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
    """Hash of names, sizes and times of change of a video's frames and masks, whatever else lies in its folder."""
    files = sorted(list_images(path)) if path.is_dir() else [path]
    digest = hashlib.sha256()
    for file in [*files, *masks]:
        try:
            stat = file.stat()
        except OSError:  # a link to nowhere; where it is a frame, reading it fails
            stat = file.lstat()
        digest.update(f"{file.name}\0{stat.st_size}\0{stat.st_mtime_ns}\n".encode())
    return digest.hexdigest()
