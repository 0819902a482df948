"""Frame sources: the common protocols, and the source for a path."""

from collections.abc import Iterator
from pathlib import Path
from typing import Protocol, runtime_checkable

from ..config import DataConfig
from ..types import Frame
from .image_frames import FrameFolder, ImageStack
from .listing import is_image_name, numbered_name
from .video import VideoFile


@runtime_checkable
class FrameSource(Protocol):
    """A video that can be iterated frame by frame.

    Attributes:
        name: Name of the video, used for its results.
        size: (H, W) px of every frame, after rotation.
        count: Declared number of frames; None if unknown.
        fps: Frames per second; None if the source has no timestamps.
        stems: Names of the frames (file names without suffix); None if frames are named by their number.
        warnings: Messages for the user; the list grows during iteration.
        incomplete: Whether the end of the video is missing; known after iteration.
    """

    name: str
    size: tuple[int, int]
    count: int | None
    fps: float | None
    stems: list[str] | None
    warnings: list[str]
    incomplete: bool

    def __iter__(self) -> Iterator[Frame]: ...


@runtime_checkable
class IndexedFrames(FrameSource, Protocol):
    """A video with random access to its frames. Not thread-safe."""

    def __len__(self) -> int:
        """Return the number of frames; if the file does not declare it, the whole file is read."""

    def __getitem__(self, index: int) -> Frame:
        """Return the frame at `index` (0 is the first), equal to the one that iteration yields.

        Raises:
            IndexError: `index` is outside the video.
        """


def open_frames(path: str | Path, data: DataConfig) -> IndexedFrames:
    """Open a folder of images, a video file or a multi-page image, and check it without decoding every frame.

    Raises:
        UsageError: The path is none of these.
        VideoError: The video cannot be segmented.
    """
    path = Path(path)
    if path.is_dir():
        return FrameFolder(path, data)
    if path.is_file() and is_image_name(path):
        return ImageStack(path, data)
    return VideoFile(path, data)


def frame_name(source: FrameSource, index: int) -> str:
    """Return the name of a frame: the stem of its file, or its number if it has no file of its own."""
    return source.stems[index] if source.stems else numbered_name(index, source.count)
