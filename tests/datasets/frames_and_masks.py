"""Frames and masks on disk, and the masks that are found for a video."""

from pathlib import Path

from PIL import Image

from xmem_infer.config import DataConfig, MaskPolicy
from xmem_infer.datasets.discovery import find_videos
from xmem_infer.datasets.mask_files import find_masks
from xmem_infer.datasets.video_input import VideoInput
from xmem_infer.io.frames import open_frames

AUTO, FIRST, ALL = (DataConfig(masks=policy) for policy in (MaskPolicy.auto, MaskPolicy.first, MaskPolicy.all))


def frames(folder: Path, *stems: str, size: tuple[int, int] = (8, 6)) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for stem in stems or ("00000", "00001", "00002"):
        Image.new("RGB", size).save(folder / f"{stem}.jpg")
    return folder


def masks(folder: Path, *stems: str, size: tuple[int, int] = (8, 6)) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for stem in stems or ("00000", "00001", "00002"):
        Image.new("L", size, 1).save(folder / f"{stem}.png")
    return folder


def image(path: Path) -> Path:
    masks(path.parent, path.stem)
    return path


def video_stand_in(path: Path) -> Path:
    """Create an empty file with a video's name: `find_videos` does not open the files."""
    path.write_bytes(b"\0")
    return path


class Numbered:
    """A frame source whose frames are numbered like those of a video file."""

    def __init__(self, count: int | None, size: tuple[int, int] = (6, 8)):
        self.name, self.count, self.size = "clip", count, size
        self.fps, self.stems, self.warnings = 25.0, None, []

    def __iter__(self):
        return iter(())


def one(video_dir, mask=None, data=AUTO) -> VideoInput:
    items = find_videos(str(video_dir), None if mask is None else str(mask), data)
    assert len(items) == 1
    return items[0]


def found(video_dir, mask=None, data=AUTO):
    """Return (first mask, later masks by frame name)."""
    return of(one(video_dir, mask, data))


def of(item, source=None):
    files, _ = find_masks(item, source or open_frames(item.path, AUTO))
    first, *later = files
    return files[first], {frame: files[frame] for frame in later}


def load_first_mask(item):
    video = item.open(AUTO)
    return video.masks[next(iter(video.masks))]
