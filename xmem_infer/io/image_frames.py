"""Frames from image folders and multi-page images."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import numpy as np
from PIL import Image, ImageFile

from ..config import DataConfig, OnCorrupt
from ..errors import UsageError, VideoError
from ..types import Frame
from .corrupt import CorruptPolicy, corrupt_error
from .images import (
    Header,
    TooManyPixels,
    UnreadableImage,
    convert_errors,
    header_of,
    open_image,
    range_of,
    read_header,
    refuse_large,
    size_words,
    to_rgb,
    upright,
    value_counts,
)
from .listing import IMAGE_SUFFIXES, describe_contents, list_images, numbered_name, numbering_warnings

Opener = Callable[[int], AbstractContextManager[ImageFile.ImageFile]]  # opens an image by the index of its frame


class FrameFolder:
    """The images of a folder in natural order of their names; every header is checked at construction.

    The EXIF orientation is applied, because viewers and most annotation tools show the rotated image, so masks
    drawn with them match it; `size` is the size after rotation. Greyscale of more than 8 bits is scaled linearly to
    8 bits with one range for all frames: data.range, or else the range of their values.

    Raises:
        UsageError: The folder is missing or has no images, two files share a stem, a file has several pages, or
            data.range is set although all images have 8 bits.
        VideoError: Frames differ in size, exceed data.max_pixels, or are corrupt under data.on_corrupt=fail.
    """

    fps: float | None = None
    incomplete = False

    def __init__(self, folder: str | Path, data: DataConfig):
        folder = Path(folder)
        if not folder.is_dir():
            raise UsageError(f"{folder} {'is not a folder' if folder.exists() else 'does not exist'}")
        self._files, self._data = list_images(folder), data
        if not self._files:
            raise UsageError(
                f"{folder} holds no images ({' '.join(IMAGE_SUFFIXES)}); it holds {describe_contents(folder)}"
            )
        self.stems: list[str] | None = [file.stem for file in self._files]
        self._read_headers(folder.absolute().name or "video", [f"frame {file}" for file in self._files])

    def _read_headers(self, name: str, labels: list[str]) -> None:
        """Check all headers; labels: what messages call each frame."""
        self.name, self._labels = name, labels
        self.count: int | None = len(labels)
        self._names = self.stems or [numbered_name(index, len(labels)) for index in range(len(labels))]
        self.warnings = numbering_warnings(self.stems or [])
        self._headers: list[Header | str] = []  # a string is the reason why the file cannot be read
        self._value_counts = np.zeros(65536, np.int64)  # of 16-bit frames, if no range is given
        with self._opener() as open_frame:
            for index, label in enumerate(labels):
                self._headers.append(self._checked_header(label, open_frame(index)))
        headers = [header for header in self._headers if isinstance(header, Header)]
        if turned := sum(header.orientation != 1 for header in headers):
            self.warnings.append(
                f"{turned} frames are turned as their EXIF orientation says. Masks are turned by their own, so a mask "
                "without one must be drawn on the turned frame, as viewers show it"
            )
        self._range = data_range = self._data.range  # the values that map to 0 and 255 in all frames of 16 bits
        is_deep = any(header.deep for header in headers)
        if data_range is not None and not is_deep:
            raise UsageError(f"data.range={data_range} is for grey frames of more than 8 bits; those of {name} have 8")
        if data_range is None and is_deep:
            low, high = self._range = range_of(self._value_counts)
            self.warnings.append(
                f"frames of 16 bits: the values {low:,.0f} to {high:,.0f}, all but 0.1 % at either end, are stretched "
                f"to 8 bits, alike in all frames; for others set data.range=[LOW,HIGH]"
            )
        self._num_setup_warnings = len(self.warnings)

    @contextmanager
    def _opener(self) -> Iterator[Opener]:
        """Yield what opens the image of a frame. Entering one raises UnreadableImage; leave it before the next."""
        yield lambda index: open_image(self._files[index], self._data.max_pixels)

    def _checked_header(self, label: str, picture: AbstractContextManager[ImageFile.ImageFile]) -> Header | str:
        try:
            with picture as image:
                header = header_of(image)
                if header.deep and self._data.range is None:
                    image.load()
                    self._value_counts += value_counts(image)
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
        if not self._headers:
            self.size = header.size
        elif header.size != self.size:
            raise VideoError(
                f"{self.name}: frames differ in size: {label.removeprefix('frame ')} is {size_words(header.size)}, "
                f"{self._files[0].name} is {size_words(self.size)}; a video needs one size"
            )
        return header

    def __len__(self) -> int:
        return len(self._headers)

    def __iter__(self) -> Iterator[Frame]:
        del self.warnings[self._num_setup_warnings :]
        policy = CorruptPolicy(self.name, self._data.on_corrupt, self.warnings)
        with self._opener() as open_frame:
            for index, name in enumerate(self._names):
                try:
                    with self._decoded(index, open_frame) as image:
                        policy.last_readable = Frame(index, name, to_rgb(image, self._range))
                    yield policy.last_readable
                except UnreadableImage as error:
                    yield policy.corrupt(self._labels[index], index, name, str(error))

    def __getitem__(self, index: int) -> Frame:
        if not 0 <= index < len(self):
            raise IndexError(f"{self.name} has no frame {index}: it has {len(self)}")
        try:
            with self._opener() as open_frame, self._decoded(index, open_frame) as image:
                return Frame(index, self._names[index], to_rgb(image, self._range))
        except UnreadableImage as error:
            policy = CorruptPolicy(self.name, self._data.on_corrupt, [], self[index - 1] if index else None)
            return policy.corrupt(self._labels[index], index, self._names[index], str(error))

    @contextmanager
    def _decoded(self, index: int, open_frame: Opener) -> Iterator[Image.Image]:
        """Yield the decoded image of a frame with its EXIF orientation applied. Raises UnreadableImage."""
        if isinstance(header := self._headers[index], str):
            raise UnreadableImage(header)
        with open_frame(index) as image:
            yield upright(image, header)


class ImageStack(FrameFolder):
    """An image file with several pages or frames, such as a multi-page TIFF; each one is a frame, numbered from 0."""

    def __init__(self, path: Path, data: DataConfig):
        self._files, self._data, self.stems = [path], data, None
        try:
            pictures = read_header(path, data.max_pixels).pictures
        except UnreadableImage as error:
            raise VideoError(f"{path} {error}") from error
        if pictures == 1:
            raise UsageError(
                f"{path} is a single image, not a video: give the folder of frames that it lies in, or a video file"
            )
        self._read_headers(path.stem, [f"picture {index + 1} of {path}" for index in range(pictures)])

    @contextmanager
    def _opener(self) -> Iterator[Opener]:
        with open_image(self._files[0], self._data.max_pixels) as image:

            @contextmanager
            def page(index: int) -> Iterator[ImageFile.ImageFile]:
                with convert_errors():
                    image.seek(index)
                    refuse_large((image.size[1], image.size[0]), self._data.max_pixels)
                    yield image

            yield page
