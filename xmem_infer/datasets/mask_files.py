"""Which mask file belongs to which frame of a video."""

from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path

from ..config import DataConfig
from ..errors import UsageError
from ..io.frames import FrameSource
from ..io.listing import describe_contents, list_images, name_some, numbered_name
from ..io.masks import WHAT_A_MASK_IS, check_mask, read_mask
from ..types import LabelMask
from .discovery import FRAMES, VideoItem, video_name

ANNOTATIONS = "Annotations"


@dataclass(frozen=True)
class MaskFiles:
    """The first mask, and later ones by frame name. Only looked up, not yet read.

    begins_at: name of the frame of the first mask, where it is not the video's first frame. folder: where
    they lie, None for a single image.
    """

    first: Path
    later: dict[str, Path] = field(default_factory=dict)
    begins_at: str | None = None
    folder: Path | None = field(default=None, compare=False)


def find_masks(item: VideoItem, source: FrameSource) -> MaskFiles:
    """Masks of a video: the ones given, or the ones that lie beside it.

    In a folder of masks each belongs to the frame of its name, or else of its number (7 or 00007). For
    video files the name is the frame's number, the first being 0.
    Raises UsageError: no mask for the first frame (for any, where `item.may_start_late`), masks that belong
    to no frame (where all are to be used), two for one frame. Beyond the end of a file of unknown length,
    masks are silently never reached.
    """
    where = item.mask or _beside(item.path)
    if not where.is_dir():
        return MaskFiles(where)
    files = list_images(where)
    if not files:
        raise UsageError(f"{where} holds no masks for {item.name}; it holds {describe_contents(where)}")
    by_index, unmatched = _match(files, source)
    start = min(by_index, default=0) if item.may_start_late else 0
    if start not in by_index:
        first = source.stems[0] if source.stems else f"{numbered_name(0, source.count)} (counting from 0)"
        raise UsageError(
            f"no mask for the first frame of {item.name}: it would be called {first}, but the masks in {where} "
            f"are {name_some([file.name for file in files])}"
        )
    names = {i: source.stems[i] if source.stems else numbered_name(i, source.count) for i in by_index}
    begins_at = names[start] if start else None
    if not item.all_masks:
        return MaskFiles(by_index[start], {}, begins_at, where)
    if unmatched:
        raise UsageError(
            f"{len(unmatched)} of {len(files)} masks in {where} belong to no frame of {item.name}: "
            f"{name_some([file.name for file in unmatched])}; masks are called like their frames"
        )
    later = {names[i]: by_index[i] for i in sorted(by_index) if i > start}
    return MaskFiles(by_index[start], later, begins_at, where)


def load_mask(path: Path, source: FrameSource, data: DataConfig) -> LabelMask:
    """Read a mask and check it against the video's size. Raises UsageError."""
    mask = read_mask(path, data.max_pixels)
    check_mask(mask, source.size, f"the video {source.name}")
    return mask


def load_first_mask(item: VideoItem, source: FrameSource, data: DataConfig) -> LabelMask:
    """The first frame's mask, found, read and checked: all that can be said before a model is loaded."""
    return load_mask(find_masks(item, source).first, source, data)


def _beside(video: Path) -> Path:
    """The mask or folder of masks that lies beside a video; UsageError saying where was looked."""
    video = video.absolute()
    looked: list[Path] = []
    if FRAMES in video.parts:
        last = len(video.parts) - 1 - video.parts[::-1].index(FRAMES)
        looked.append(Path(*video.parts[:last], ANNOTATIONS, *video.parts[last + 1 :]))
        if looked[0].is_dir():
            return looked[0]
    images = [video.parent / f"{video_name(video)}{ending}" for ending in (".png", "_mask.png")]
    found = [image for image in images if image.is_file()]
    if len(found) == 1:
        return found[0]
    if found:
        raise UsageError(
            f"both {found[0]} and {found[1].name} lie beside {video.name}: say which is the mask of its first "
            "frame, as mask=PATH"
        )
    raise UsageError(
        f"no mask for the first frame of {video.name}: looked for {', '.join(map(str, looked + images))}. "
        f"Put one there, or give mask=PATH. {WHAT_A_MASK_IS}"
    )


def _match(files: list[Path], source: FrameSource) -> tuple[dict[int, Path], list[Path]]:
    """Mask files by frame index, and those that belong to no frame."""
    by_name = {stem: index for index, stem in enumerate(source.stems or [])}
    by_number: dict[int, list[int]] = defaultdict(list)
    for stem, position in by_name.items():
        if stem.isdecimal():
            by_number[int(stem)].append(position)
    matched: dict[int, Path] = {}
    unmatched: list[Path] = []
    for file in files:
        index: int | None = by_name.get(file.stem)
        if index is None and file.stem.isdecimal():
            number = int(file.stem)
            if source.stems is not None:
                same = by_number.get(number, [])
                index = same[0] if len(same) == 1 else None
            elif source.count is None or number < source.count:
                index = number
        if index is None:
            unmatched.append(file)
        elif index in matched:
            raise UsageError(f"{matched[index]} and {file.name} are masks of the same frame; keep one of them")
        else:
            matched[index] = file
    return matched, unmatched
