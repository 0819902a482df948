"""Match mask files to the frames of a video."""

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
BESIDE = (".png", "_mask.png")  # a mask next to a video is called like the video plus one of these


def video_name(path: Path) -> str:
    """Return the name of a video's results: the name of its folder, or of its file without the suffix."""
    return path.stem if path.is_file() else path.absolute().name


def find_masks(video: "VideoInput", source: FrameSource) -> tuple[dict[str, Path], Path | None]:
    """Return the mask files of a video by frame name, in order, and their folder (None for a single image).

    A mask in a folder belongs to the frame with the same name or, if there is none, with the same number (7 or
    00007). Frames of video files are named by their number, starting at 0. If the length of the video is unknown,
    masks beyond its end are accepted and never used.

    Raises UsageError if there is no mask for the first frame (with `video.may_start_late`: for any frame), if masks
    match no frame although all are to be used, or if two masks match one frame.
    """
    path = video.mask or _find_beside(video.path)
    if not path.is_dir():
        return {frame_name(source, 0): path}, None
    files = list_images(path)
    if not files:
        raise UsageError(f"{path} holds no masks for {video.name}; it holds {describe_contents(path)}")
    by_index, unmatched = _match(files, source)
    start = min(by_index, default=0) if video.may_start_late else 0
    first = source.stems[0] if source.stems else f"{frame_name(source, 0)} (counting from 0)"
    if start not in by_index and not (video.may_start_late and video.all_masks):
        hint = "" if video.may_start_late else "; where the first mask is that of a later frame, say references=FOLDER"
        raise UsageError(
            f"no mask for the first frame of {video.name}: it would be called {first}, but the masks in {path} "
            f"are {name_some([file.name for file in files])}{hint}"
        )
    if video.all_masks and unmatched:
        raise UsageError(
            f"{len(unmatched)} of {len(files)} masks in {path} belong to no frame of {video.name}: "
            f"{name_some([file.name for file in unmatched])}; masks are called like their frames, the first {first}"
        )
    used = sorted(by_index) if video.all_masks else [start]
    return {frame_name(source, index): by_index[index] for index in used}, path


def _find_beside(video: Path) -> Path:
    """Return the mask, or folder of masks, that belongs to a video by its location; raises UsageError without one."""
    video = video.absolute()
    tried: list[Path] = []
    if FRAMES in video.parts:
        last = len(video.parts) - 1 - video.parts[::-1].index(FRAMES)
        tried.append(Path(*video.parts[:last], ANNOTATIONS, *video.parts[last + 1 :]))
        if tried[0].is_dir():
            return tried[0]
    images = [video.parent / f"{video_name(video)}{ending}" for ending in BESIDE]
    existing = [image for image in images if image.is_file()]
    if len(existing) == 1:
        return existing[0]
    if existing:
        raise UsageError(
            f"both {existing[0]} and {existing[1].name} lie beside {video.name}: say which is the mask of its first "
            "frame, as mask=PATH"
        )
    raise UsageError(
        f"no mask for the first frame of {video.name}: looked for {', '.join(map(str, tried + images))}. "
        f"Put one there, or give mask=PATH. {WHAT_A_MASK_IS}"
    )


def _match(files: list[Path], source: FrameSource) -> tuple[dict[int, Path], list[Path]]:
    """Return the mask files by frame index, and the files that match no frame."""
    by_name = {stem: index for index, stem in enumerate(source.stems or [])}
    by_number: dict[int, int | None] = {}  # None: several frames have this number
    for stem, index in by_name.items():
        if stem.isdecimal():
            by_number[int(stem)] = None if int(stem) in by_number else index
    matched: dict[int, Path] = {}
    unmatched: list[Path] = []
    for file in files:
        match = by_name.get(file.stem)
        if match is None and file.stem.isdecimal():
            number = int(file.stem)
            if source.stems is not None:
                match = by_number.get(number)
            elif source.count is None or number < source.count:
                match = number
        if match is None:
            unmatched.append(file)
        elif match in matched:
            raise UsageError(f"{matched[match]} and {file.name} are masks of the same frame; keep one of them")
        else:
            matched[match] = file
    return matched, unmatched
