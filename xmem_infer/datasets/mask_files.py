"""Which mask file belongs to which frame of a video."""

from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import UsageError
from ..io.frames import FrameSource, frame_name
from ..io.listing import describe_contents, list_images, name_some
from ..io.masks import WHAT_A_MASK_IS

if TYPE_CHECKING:
    from .video_input import VideoInput

FRAMES = "JPEGImages"
ANNOTATIONS = "Annotations"
BESIDE = (".png", "_mask.png")  # endings of a mask beside a video, after the video's name


def video_name(path: Path) -> str:
    """What the results of a video are called: the folder's name, or the file's without its ending."""
    return path.stem if path.is_file() else path.absolute().name


def find_masks(video: "VideoInput", source: FrameSource) -> tuple[dict[str, Path], Path | None]:
    """Mask files by frame name, the first one first, and the folder they lie in (None for a single image).

    In a folder of masks each belongs to the frame of its name, or else of its number (7 or 00007). For video files the
    name is the frame's number, the first being 0. Files are looked up, not read. Beyond the end of a file of unknown
    length, masks are silently never reached.

    Raises:
        UsageError: No mask for the first frame (for any, where `video.may_start_late`), masks that belong to no frame
            (where all are to be used), two for one frame.
    """
    where = video.mask or _beside(video.path)
    if not where.is_dir():
        return {frame_name(source, 0): where}, None
    files = list_images(where)
    if not files:
        raise UsageError(f"{where} holds no masks for {video.name}; it holds {describe_contents(where)}")
    by_index, unmatched = _match(files, source)
    start = min(by_index, default=0) if video.may_start_late else 0
    first = source.stems[0] if source.stems else f"{frame_name(source, 0)} (counting from 0)"
    if start not in by_index and not (video.may_start_late and video.all_masks):
        hint = "" if video.may_start_late else "; where the first mask is that of a later frame, say references=FOLDER"
        raise UsageError(
            f"no mask for the first frame of {video.name}: it would be called {first}, but the masks in {where} "
            f"are {name_some([file.name for file in files])}{hint}"
        )
    if video.all_masks and unmatched:
        raise UsageError(
            f"{len(unmatched)} of {len(files)} masks in {where} belong to no frame of {video.name}: "
            f"{name_some([file.name for file in unmatched])}; masks are called like their frames, the first {first}"
        )
    used = sorted(by_index) if video.all_masks else [start]
    return {frame_name(source, index): by_index[index] for index in used}, where


def _beside(video: Path) -> Path:
    """The mask or folder of masks that lies beside a video; UsageError saying where was looked."""
    video = video.absolute()
    looked: list[Path] = []
    if FRAMES in video.parts:
        last = len(video.parts) - 1 - video.parts[::-1].index(FRAMES)
        looked.append(Path(*video.parts[:last], ANNOTATIONS, *video.parts[last + 1 :]))
        if looked[0].is_dir():
            return looked[0]
    images = [video.parent / f"{video_name(video)}{ending}" for ending in BESIDE]
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
