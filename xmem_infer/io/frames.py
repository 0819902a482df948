"""Where frames come from: a folder, arrays, or (video.py) a file. All give the same stream of `Frame`."""

from collections.abc import Iterable, Iterator, Sized
from itertools import chain
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np

from ..config import DataConfig, OnCorrupt
from ..errors import UsageError, VideoError
from ..types import Frame
from .corrupt import CorruptPolicy, corrupt_error
from .images import Header, TooManyPixels, UnreadableImage, read_header, read_rgb, size_words
from .listing import (
    IMAGE_SUFFIXES,
    describe_contents,
    is_image_name,
    list_images,
    numbered_name,
    numbering_warnings,
    single_image_error,
)
from .video import VideoFile


@runtime_checkable
class FrameSource(Protocol):
    """A video, as a stream of frames in one pass.

    name: what its results are called. size: (H, W) px of every frame, after rotation. count: frames
    declared, None if unknown. fps: None where the source has no clock. stems: the frames' names where they
    are known, None where frames are numbered. warnings: grows while iterating. incomplete: the end was
    found missing, known after iterating.
    """

    name: str
    size: tuple[int, int]
    count: int | None
    fps: float | None
    stems: list[str] | None
    warnings: list[str]
    incomplete: bool

    def __iter__(self) -> Iterator[Frame]: ...


def open_frames(path: str | Path, data: DataConfig) -> FrameSource:
    """A folder of frames or a video file, checked as far as it can be without decoding all of it.

    Raises UsageError for a path that holds neither, VideoError for a video that cannot be segmented.
    """
    path = Path(path)
    if path.is_dir():
        return FrameFolder(path, data)
    if path.is_file() and is_image_name(path):
        raise single_image_error(path)
    return VideoFile(path, data)


def frame_name(source: FrameSource, index: int) -> str:
    """The name of a frame: the stem of its file, or its number where frames are numbered."""
    return source.stems[index] if source.stems else numbered_name(index, source.count)


class FrameFolder:
    """A folder of images, in natural order of their names, each header checked at construction.

    Frames are turned upright as their EXIF orientation says, because that is how viewers and most annotation
    tools show them and how masks come out of those tools; `size` is that of the turned frame.
    Raises UsageError (no such folder, no images, two files with one stem) and VideoError (frames of mixed
    size, over data.max_pixels, corrupt under on_corrupt=fail).
    """

    def __init__(self, folder: str | Path, data: DataConfig):
        folder = Path(folder)
        if not folder.is_dir():
            raise UsageError(f"{folder} {'is not a folder' if folder.exists() else 'does not exist'}")
        self._files = list_images(folder)
        if not self._files:
            raise UsageError(
                f"{folder} holds no images ({' '.join(IMAGE_SUFFIXES)}); it holds {describe_contents(folder)}"
            )
        self._data = data
        self.name = folder.absolute().name or "video"
        self.count: int | None = len(self._files)
        self.fps: float | None = None
        self.stems: list[str] | None = [file.stem for file in self._files]
        self.incomplete = False
        self._headers: list[Header | str] = []  # or why it cannot be read
        for file in self._files:
            self._headers.append(self._checked_header(file))
        self.size = self._first_header().size
        self.warnings = numbering_warnings(self.stems)
        turned = sum(isinstance(header, Header) and header.orientation != 1 for header in self._headers)
        if turned:
            self.warnings.append(f"{turned} frames are turned as their EXIF orientation says; so must masks be")
        self._known_before = len(self.warnings)

    def _first_header(self) -> Header:
        assert isinstance(self._headers[0], Header), "a broken first frame is refused"
        return self._headers[0]

    def _checked_header(self, file: Path) -> Header | str:
        try:
            header = read_header(file, self._data.max_pixels)
        except TooManyPixels as error:
            raise VideoError(f"{self.name}: {file} {error}") from error
        except UnreadableImage as error:
            if not self._headers or self._data.on_corrupt is OnCorrupt.fail:
                raise corrupt_error(self.name, f"frame {file}", str(error), not self._headers) from error
            return str(error)
        first = self._first_header() if self._headers else header
        if header.size != first.size:
            raise VideoError(
                f"{self.name}: frames differ in size: {file} is {size_words(header.size)}, "
                f"{self._files[0].name} is {size_words(first.size)}; a video needs one size"
            )
        return header

    def __iter__(self) -> Iterator[Frame]:
        del self.warnings[self._known_before :]
        policy = CorruptPolicy(self.name, self._data.on_corrupt, self.warnings)
        for index, (file, header) in enumerate(zip(self._files, self._headers, strict=True)):
            try:
                if isinstance(header, str):
                    raise UnreadableImage(header)
                image = read_rgb(file, header, self._data.max_pixels)
            except UnreadableImage as error:
                yield policy.corrupt(f"frame {file}", index, file.stem, str(error))
            else:
                policy.last_readable = Frame(index, file.stem, image)
                yield policy.last_readable


class ArrayFrames:
    """Pictures a library user already has: (H, W, 3) uint8 RGB arrays of one size, taken one at a time.

    A generator is consumed lazily, its first picture at construction. Arrays are copied, so that a loop
    that fills the same buffer again and again is safe. Raises UsageError for what is no such array.
    """

    def __init__(self, images: Iterable[np.ndarray], name: str = "array"):
        iterator = iter(images)
        first = next(iterator, None)
        if first is None:
            raise UsageError("no frames were given: the sequence of images is empty")
        self._images = chain([first], iterator) if iterator is images else images
        self.name = name
        self.size: tuple[int, int] = self._checked(0, first).shape[:2]
        self.count: int | None = len(images) if isinstance(images, Sized) else None
        self.fps: float | None = None
        self.stems: list[str] | None = None
        self.warnings: list[str] = []
        self.incomplete = False

    def __iter__(self) -> Iterator[Frame]:
        for index, image in enumerate(self._images):
            checked = self._checked(index, image)
            if checked.shape[:2] != self.size:
                raise VideoError(
                    f"{self.name}: frame {index} is {size_words(checked.shape)}, "
                    f"the ones before are {size_words(self.size)}; a video needs one size"
                )
            yield Frame(index, numbered_name(index, self.count), checked.copy())

    def _checked(self, index: int, image: object) -> np.ndarray:
        array = np.asarray(image)
        if array.ndim != 3 or array.shape[2] != 3 or array.dtype != np.uint8 or array.size == 0:
            raise UsageError(
                f"{self.name}: frame {index} must be an array of shape (height, width, 3) and type uint8 (RGB), "
                f"got shape {array.shape} and type {array.dtype}"
            )
        return array
