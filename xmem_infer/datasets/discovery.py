"""What `video_dir` and `mask` mean: which videos there are, and which masks were given for them."""

from pathlib import Path

from ..config import DataConfig, MaskPolicy
from ..errors import UsageError
from ..io.listing import describe_contents, list_folders, list_images, name_some
from .mask_files import FRAMES, video_name
from .video_input import VideoInput

KINDS = f"a video file, a folder of frames, or a folder with {FRAMES}/<video>/ and Annotations/<video>/"


def find_videos(video_dir: str | None, mask: str | None, data: DataConfig) -> list[VideoInput]:
    """The videos that `video_dir` means, in natural order, each with what `mask` means for it.

    Raises UsageError where that is nothing, or not clear. What is wrong with one video's own frames or masks
    is found by `open_frames` and `find_masks`.
    """
    if not video_dir:
        raise UsageError(f"video_dir is not set. Give what to segment as video_dir=PATH: {KINDS}")
    paths = _video_paths(_existing(video_dir, "video_dir"))
    given = None if not mask else _existing(mask, "mask")
    masks = _masks_by_video(given, paths)
    use_all = data.masks is MaskPolicy.all
    if data.masks is MaskPolicy.auto:
        # Masks found beside a video may be ground truth; a folder given by name is meant to be used.
        use_all = given is not None and given.is_dir()
    return [VideoInput(video_name(path), path, masks[path], use_all) for path in paths]


def _existing(text: str, key: str) -> Path:
    path = Path(text).expanduser()
    if not path.exists():
        from_where = "" if path.is_absolute() else f" (seen from {Path.cwd()})"
        raise UsageError(f"{key}={text} does not exist{from_where}")
    return path


def _video_paths(path: Path) -> list[Path]:
    if path.is_file():
        return [path]
    if (path / FRAMES).is_dir():
        return _videos_in(path / FRAMES)
    if list_images(path):
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
    levels = [folder for folder in folders if list_folders(folder) and not list_images(folder)]
    if not levels:
        return folders
    if len(folders) == 1:
        return _videos_in(folders[0])
    raise UsageError(
        f"{root} holds {name_some([folder.name for folder in folders])}, of which "
        f"{name_some([folder.name for folder in levels])} hold folders again: give the one that holds the "
        f"videos you mean, as video_dir={levels[0]}"
    )


def _masks_by_video(given: Path | None, videos: list[Path]) -> dict[Path, Path | None]:
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
    if not any((root / name).is_dir() for name in names):
        wanted = name_some([video_name(video) for video in videos])
        raise UsageError(
            f"mask={given} holds no masks for {wanted}; it holds {describe_contents(given)}. A folder of masks "
            "holds images named after the frames, or for several videos one such folder per video"
        )
    return {video: root / video_name(video) for video in videos}
