"""Find the videos and masks that the settings `video_dir`, `mask` and `references` refer to."""

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
    """Find the videos in `video_dir`, in natural order, and the mask file or folder of each, without reading them.

    For the arguments see `EvalConfig`; without `mask` and `references`, masks are looked for beside each video.
    Raises UsageError if no videos or masks are found, or if it is ambiguous which ones are meant.
    """
    if not video_dir:
        raise UsageError(f"video_dir is not set. Give what to segment as video_dir=PATH: {KINDS}")
    paths = _video_paths(existing_path(video_dir, "video_dir"))
    late = references is not None
    key, path = ("references", references) if late else ("mask", mask)
    given = existing_path(path, key) if path else None
    if late and given is not None and given.is_file():
        raise UsageError(
            f"references={references} is a file: give a folder of masks named after their frames; the mask of the "
            "first frame alone is mask=PATH"
        )
    masks = _masks_by_video(given, paths, key)
    # Masks that merely lie beside a video may be ground truth; a folder given explicitly is meant as input.
    is_input = data.masks is MaskPolicy.auto and given is not None and given.is_dir()
    use_all = is_input or data.masks is MaskPolicy.all
    return [VideoInput(video_name(video), video, masks[video], use_all, may_start_late=late) for video in paths]


def _video_paths(path: Path) -> list[Path]:
    if path.is_file():
        return [path]
    if (path / FRAMES).is_dir():
        return _video_folders(path / FRAMES)
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
        return _video_folders(path)
    raise UsageError(
        f"video_dir={path} holds neither images nor a folder {FRAMES}; it holds {describe_contents(path)}. Give {KINDS}"
    )


def _video_folders(root: Path) -> list[Path]:
    """Return the video folders in a JPEGImages folder or in its only resolution folder, such as 480p."""
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
        return _video_folders(folders[0])
    raise UsageError(
        f"{root} holds {name_some([folder.name for folder in folders])}, of which "
        f"{name_some([folder.name for folder in levels])} hold folders again: give the one that holds the "
        f"videos you mean, as video_dir={levels[0]}"
    )


def _holds_folders_only(folder: Path) -> bool:
    try:
        return bool(list_folders(folder)) and not list_images(folder)
    except UsageError:  # unreadable; this fails when that video is opened, without affecting the others
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
    root, folders, names = given, list_folders(given), [video_name(video) for video in videos]
    if len(folders) == 1 and folders[0].name not in names and list_folders(folders[0]):
        root = folders[0]  # the resolution level of DAVIS
    masks: dict[Path, Path | None] = {}
    for video, name in zip(videos, names, strict=True):
        folder, image = root / name, root / f"{name}.png"
        masks[video] = image if image.is_file() and not folder.is_dir() else folder
    if not any(mask and mask.exists() for mask in masks.values()):
        raise UsageError(
            f"{key}={given} holds no masks for {name_some(names)}; it holds {describe_contents(given)}. A folder of "
            "masks holds images named after the frames, or for several videos one such folder per video"
        )
    return masks
