"""Where frames come from: a folder, arrays, or (video.py) a file. All give the same stream of `Frame`."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Protocol, runtime_checkable

from PIL import Image, ImageFile

from ..config import DataConfig, OnCorrupt
from ..errors import UsageError, VideoError
from ..types import Frame
from .corrupt import CorruptPolicy, corrupt_error
from .images import (
    Header,
    TooManyPixels,
    UnreadableImage,
    ValueCounts,
    header_of,
    opened,
    read_header,
    readable,
    refuse_large,
    size_words,
    to_rgb,
    upright,
)
from .listing import (
    IMAGE_SUFFIXES,
    describe_contents,
    is_image_name,
    list_images,
    numbered_name,
    numbering_warnings,
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


@runtime_checkable
class IndexedFrames(FrameSource, Protocol):
    """A video whose frames can be had in any order. One thread at a time may ask for them."""

    def __len__(self) -> int:
        """Number of frames; where the file does not tell, it is read through."""

    def __getitem__(self, index: int) -> Frame:
        """The frame of an index from 0, as iterating gives it; IndexError outside the video."""


def open_frames(path: str | Path, data: DataConfig) -> IndexedFrames:
    """A folder of frames, a video file or a file of several pictures, checked without decoding all of it.

    Raises UsageError for a path that holds neither, VideoError for a video that cannot be segmented.
    """
    path = Path(path)
    if path.is_dir():
        return FrameFolder(path, data)
    if path.is_file() and is_image_name(path):
        return ImageStack(path, data)
    return VideoFile(path, data)


def frame_name(source: FrameSource, index: int) -> str:
    """The name of a frame: the stem of its file, or its number where frames are numbered."""
    return source.stems[index] if source.stems else numbered_name(index, source.count)


class FrameFolder:
    """A folder of images, in natural order of their names, each header checked at construction.

    Frames are turned upright as their EXIF orientation says, because that is how viewers and most annotation
    tools show them and how masks come out of those tools; `size` is that of the turned frame. Grey of more than 8 bits
    is stretched alike in all frames, as data.range or the values of all of them say.
    Raises UsageError (no such folder, no images, two files with one stem, several pictures in a file, a data.range
    that nothing needs) and VideoError (frames of mixed size, over data.max_pixels, corrupt under on_corrupt=fail).
    """

    def __init__(self, folder: str | Path, data: DataConfig):
        folder = Path(folder)
        if not folder.is_dir():
            raise UsageError(f"{folder} {'is not a folder' if folder.exists() else 'does not exist'}")
        files = list_images(folder)
        if not files:
            raise UsageError(
                f"{folder} holds no images ({' '.join(IMAGE_SUFFIXES)}); it holds {describe_contents(folder)}"
            )
        self._setup(folder.absolute().name or "video", files, [f"frame {file}" for file in files], data)

    def _setup(self, name: str, files: list[Path], labels: list[str], data: DataConfig) -> None:
        """labels: what the user knows each frame by."""
        self.name = name
        self._files, self._labels, self._data = files, labels, data
        self.count: int | None = len(labels)
        self.fps: float | None = None
        self.stems: list[str] | None = [file.stem for file in files] if len(files) == len(labels) else None
        self.incomplete = False
        self._headers: list[Header | str] = []  # or why it cannot be read
        for label, picture in zip(labels, self._pictures(), strict=True):
            self._headers.append(self._checked_header(label, picture))
        self.size = self._first_header().size
        self.warnings = numbering_warnings(self.stems or [])
        turned = sum(isinstance(header, Header) and header.orientation != 1 for header in self._headers)
        if turned:
            self.warnings.append(
                f"{turned} frames are turned as their EXIF orientation says. Masks are turned by their own, so a mask "
                "without one must be drawn on the turned frame, as viewers show it"
            )
        self._range = self._value_range()
        self._known_before = len(self.warnings)

    def _pictures(self) -> Iterator[AbstractContextManager[ImageFile.ImageFile]]:
        """Each frame's picture, to be entered before the next one is asked for. Raises UnreadableImage."""
        for file in self._files:
            yield opened(file, self._data.max_pixels)

    def _first_header(self) -> Header:
        assert isinstance(self._headers[0], Header), "a broken first frame is refused"
        return self._headers[0]

    def _checked_header(self, label: str, picture: AbstractContextManager[ImageFile.ImageFile]) -> Header | str:
        try:
            with picture as image:
                header = header_of(image)
        except TooManyPixels as error:
            raise VideoError(f"{self.name}: {label} {error}") from error
        except UnreadableImage as error:
            if not self._headers or self._data.on_corrupt is OnCorrupt.fail:
                raise corrupt_error(self.name, label, str(error), not self._headers) from error
            return str(error)
        if header.pictures > 1 and self.stems is not None:
            raise UsageError(
                f"{label} holds {header.pictures} pictures, where a folder of frames has one in each file. A file of "
                "several pictures is a video of its own: give it as video_dir"
            )
        first = self._first_header() if self._headers else header
        if header.size != first.size:
            raise VideoError(
                f"{self.name}: frames differ in size: {label.removeprefix('frame ')} is {size_words(header.size)}, "
                f"{self._files[0].name} is {size_words(first.size)}; a video needs one size"
            )
        return header

    def _value_range(self) -> tuple[float, float] | None:
        """The values that become 0 and 255 in all frames; None where they have 8 bits."""
        deep = [isinstance(header, Header) and header.deep for header in self._headers]
        if not any(deep):
            if self._data.range is not None:
                raise UsageError(
                    f"data.range={self._data.range} is of use with grey frames of more than 8 bits only; those of "
                    f"{self.name} have 8"
                )
            return None
        if self._data.range is not None:
            return self._data.range[0], self._data.range[1]
        counts = ValueCounts()
        for label, is_deep, picture in zip(self._labels, deep, self._pictures(), strict=True):
            try:
                with picture as image:
                    if is_deep:
                        image.load()
                        counts.add(image)
            except UnreadableImage as error:
                if self._data.on_corrupt is OnCorrupt.fail:
                    raise corrupt_error(self.name, label, str(error), label == self._labels[0]) from error
        low, high = counts.range()
        self.warnings.append(
            f"frames of 16 bits: the values {low:,.0f} to {high:,.0f}, all but 0.1 % at either end, are stretched to 8 "
            f"bits, alike in all frames; for others set data.range=[LOW,HIGH]"
        )
        return low, high

    def __len__(self) -> int:
        return len(self._headers)

    def __iter__(self) -> Iterator[Frame]:
        del self.warnings[self._known_before :]
        policy = CorruptPolicy(self.name, self._data.on_corrupt, self.warnings)
        for index, picture in enumerate(self._pictures()):
            try:
                with self._decoded(index, picture) as image:
                    policy.last_readable = Frame(index, frame_name(self, index), to_rgb(image, self._range))
                yield policy.last_readable
            except UnreadableImage as error:
                yield policy.corrupt(self._labels[index], index, frame_name(self, index), str(error))

    def __getitem__(self, index: int) -> Frame:
        if not 0 <= index < len(self):
            raise IndexError(f"{self.name} has no frame {index}: it has {len(self)}")
        try:
            with self._decoded(index, self._picture(index)) as image:
                return Frame(index, frame_name(self, index), to_rgb(image, self._range))
        except UnreadableImage as error:
            policy = CorruptPolicy(self.name, self._data.on_corrupt, [])
            policy.last_readable = self[index - 1] if index else None
            return policy.corrupt(self._labels[index], index, frame_name(self, index), str(error))

    @contextmanager
    def _decoded(self, index: int, picture: AbstractContextManager[ImageFile.ImageFile]) -> Iterator[Image.Image]:
        """The picture of a frame, decoded and upright, inside the block. Raises UnreadableImage."""
        if isinstance(header := self._headers[index], str):
            raise UnreadableImage(header)
        with picture as image:
            yield upright(image, header)

    def _picture(self, index: int) -> AbstractContextManager[ImageFile.ImageFile]:
        return opened(self._files[index], self._data.max_pixels)


class ImageStack(FrameFolder):
    """A file of several pictures, such as a TIFF of many pages: each is a frame, numbered from 0."""

    def __init__(self, path: Path, data: DataConfig):
        try:
            pictures = read_header(path, data.max_pixels).pictures
        except UnreadableImage as error:
            raise VideoError(f"{path} {error}") from error
        if pictures == 1:
            raise UsageError(
                f"{path} is a single image, not a video: give the folder of frames that it lies in, or a video file"
            )
        self._setup(path.stem, [path], [f"picture {index + 1} of {path}" for index in range(pictures)], data)

    def _pictures(self) -> Iterator[AbstractContextManager[ImageFile.ImageFile]]:
        with opened(self._files[0], self._data.max_pixels) as image:
            for index in range(len(self._labels)):
                yield self._at(image, index)

    @contextmanager
    def _picture(self, index: int) -> Iterator[ImageFile.ImageFile]:
        with opened(self._files[0], self._data.max_pixels) as image, self._at(image, index) as picture:
            yield picture

    @contextmanager
    def _at(self, image: ImageFile.ImageFile, index: int) -> Iterator[ImageFile.ImageFile]:
        with readable():
            image.seek(index)
            refuse_large((image.size[1], image.size[0]), self._data.max_pixels)
            yield image
