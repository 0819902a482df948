"""What `video_dir` and `mask` mean: which videos there are, and which masks were given for them."""

import logging
from pathlib import Path

from ..config import DataConfig, MaskPolicy
from ..errors import UsageError
from ..io.listing import counted, describe_contents, existing_path, list_folders, list_images, list_videos, name_some
from .mask_files import BESIDE, FRAMES, video_name
from .video_input import VideoInput

log = logging.getLogger(__name__)

KINDS = (
    f"a video file or a folder of them, a folder of frames, or a folder with {FRAMES}/<video>/ and Annotations/<video>/"
)


def find_videos(
    video_dir: str | None, mask: str | None, data: DataConfig, references: str | None = None
) -> list[VideoInput]:
    """The videos that `video_dir` means, in natural order, each with what `mask` means for it.

    Raises UsageError where that is nothing, or not clear. What is wrong with one video's own frames or masks
    is found by `open_frames` and `find_masks`.
    """
    if not video_dir:
        raise UsageError(f"video_dir is not set. Give what to segment as video_dir=PATH: {KINDS}")
    paths = _video_paths(existing_path(video_dir, "video_dir"))
    folder = existing_path(references, "references") if references else None
    if folder is not None and folder.is_file():
        raise UsageError(
            f"references={references} is a file: give a folder of masks named after their frames; the mask of the "
            "first frame alone is mask=PATH"
        )
    given = folder or (existing_path(mask, "mask") if mask else None)
    masks = _masks_by_video(given, paths, "mask" if references is None else "references")
    use_all = data.masks is MaskPolicy.all
    if data.masks is MaskPolicy.auto:
        # Masks found beside a video may be ground truth; a folder given by name is meant to be used.
        use_all = given is not None and given.is_dir()
    late = references is not None
    return [VideoInput(video_name(path), path, masks[path], use_all, may_start_late=late) for path in paths]


def _video_paths(path: Path) -> list[Path]:
    if path.is_file():
        return [path]
    if (path / FRAMES).is_dir():
        return _videos_in(path / FRAMES)
    videos = list_videos(path)
    if videos and not any(list_images(folder) for folder in list_folders(path)):
        mask_names = {f"{video.stem}{ending}" for video in videos for ending in BESIDE}
        if all(image.name in mask_names for image in list_images(path)):
            return videos
    if list_images(path):
        if videos:
            beside = counted(len(videos), "video file")
            log.warning(f"warning: {path} is read as the frames of one video, without {beside} that it also holds")
        return [path]
    if FRAMES in path.absolute().parts and list_folders(path):
        return _videos_in(path)
    raise UsageError(
        f"video_dir={path} holds neither images nor a folder {FRAMES}; it holds {describe_contents(path)}. Give {KINDS}"
    )


def _videos_in(root: Path) -> list[Path]:
    """Video folders in a JPEGImages folder, also below one level for the resolution (480p)."""
    folders = list_folders(root)
    if not folders:
        raise UsageError(
            f"{root} holds no folder per video; it holds {describe_contents(root)}. If these are the frames "
            f"of one video, give video_dir={root}"
        )
    levels = [folder for folder in folders if _holds_folders_only(folder)]
    if not levels:
        return folders
    if len(folders) == 1:
        return _videos_in(folders[0])
    raise UsageError(
        f"{root} holds {name_some([folder.name for folder in folders])}, of which "
        f"{name_some([folder.name for folder in levels])} hold folders again: give the one that holds the "
        f"videos you mean, as video_dir={levels[0]}"
    )


def _holds_folders_only(folder: Path) -> bool:
    try:
        return bool(list_folders(folder)) and not list_images(folder)
    except UsageError:  # it cannot be read, which fails this video when it is opened, and no other
        return False


def _masks_by_video(given: Path | None, videos: list[Path], key: str) -> dict[Path, Path | None]:
    if given is None:
        return dict.fromkeys(videos)
    if given.is_file():
        if len(videos) > 1:
            raise UsageError(
                f"mask={given} is one image, but video_dir means {len(videos)} videos: give a folder that has "
                "a folder of masks per video, each with the video's name"
            )
        return {videos[0]: given}
    if len(videos) == 1 and list_images(given):
        return {videos[0]: given}
    root, below = given, list_folders(given)
    names = {video_name(video) for video in videos}
    if len(below) == 1 and below[0].name not in names and list_folders(below[0]):
        root = below[0]  # the resolution level of DAVIS
    masks: dict[Path, Path | None] = {video: _mask_of(root, video_name(video)) for video in videos}
    if not any(mask and mask.exists() for mask in masks.values()):
        wanted = name_some([video_name(video) for video in videos])
        raise UsageError(
            f"{key}={given} holds no masks for {wanted}; it holds {describe_contents(given)}. A folder of masks "
            "holds images named after the frames, or for several videos one such folder per video"
        )
    return masks


def _mask_of(root: Path, name: str) -> Path:
    """The folder of masks of a video, or the image of its first mask where there is that."""
    image = root / f"{name}.png"
    return image if image.is_file() and not (root / name).is_dir() else root / name
