"""Frame sources: the common protocols, the source for a path, and reading ahead in a thread."""

from collections import deque
from collections.abc import Generator, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Protocol, runtime_checkable

from ..config import DataConfig
from ..types import Frame
from .image_frames import FrameFolder, ImageStack
from .listing import is_image_name, numbered_name
from .video import VideoFile

READ_AHEAD = 4  # frames


@runtime_checkable
class FrameSource(Protocol):
    """A video that can be iterated frame by frame."""

    name: str  # used for the results
    size: tuple[int, int]  # (H, W) px of every frame, after rotation
    count: int | None  # declared number of frames; None if unknown
    fps: float | None  # frames per second; None if the source has no timestamps
    stems: list[str] | None  # names of the frames (of files without suffix); None if they are named by their number
    warnings: list[str]  # messages for the user; the list grows during iteration
    incomplete: bool  # whether the end of the video is missing; known after iteration

    def __iter__(self) -> Iterator[Frame]: ...


@runtime_checkable
class IndexedFrames(FrameSource, Protocol):
    """A video with random access to its frames. Not thread-safe."""

    def __len__(self) -> int:
        """Return the number of frames; if the file does not declare it, the whole file is read."""

    def __getitem__(self, index: int) -> Frame:
        """Return the frame at `index` from 0, equal to the one that iteration yields. Raises IndexError outside."""


def open_frames(path: str | Path, data: DataConfig) -> IndexedFrames:
    """Open a folder of images, a video file or a multi-page image, and check it without decoding every frame.

    Raises UsageError if the path is none of these, VideoError if the video cannot be segmented.
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


def read_ahead(source: Iterable[Frame]) -> Generator[tuple[Frame, bool], None, None]:
    """Yield (frame, whether it is the last one), while a thread reads at most READ_AHEAD frames ahead.

    To know the last one, each frame is yielded only after the next one has been read. An exception raised by `source`
    is re-raised at the position of the frame that failed. Close the generator to stop the thread early.
    """
    iterator = iter(source)
    with ThreadPoolExecutor(1, "read ahead") as thread:
        ahead = deque(thread.submit(next, iterator, None) for _ in range(READ_AHEAD))
        try:
            frame = ahead.popleft().result()
            while frame is not None:
                ahead.append(thread.submit(next, iterator, None))
                following = ahead.popleft()
                # If reading the next frame failed, this one is not the last: the source has more.
                yield frame, following.exception() is None and following.result() is None
                frame = following.result()
        finally:
            thread.shutdown(wait=False, cancel_futures=True)
