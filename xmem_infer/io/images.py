"""Image files: headers read and checked before anything is allocated, pictures turned into RGB."""

import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np

# Imported for what they put into Image.OPEN; only these formats are read, whatever the file is called.
from PIL import (
    BmpImagePlugin,  # noqa: F401
    Image,
    ImageFile,
    JpegImagePlugin,  # noqa: F401
    PngImagePlugin,  # noqa: F401
    TiffImagePlugin,
    WebPImagePlugin,  # noqa: F401
)

from ..errors import XMemInferError

FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "TIFF")
RANGE_ADVICE = "set data.range=[LOW,HIGH], or save it with 8 or 16 bits"
ORIENTATION = 0x0112  # EXIF tag: how to turn the stored picture to see it upright
UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


class UnreadableImage(Exception):
    """Why an image file cannot be used; the message continues a sentence that starts with the file's name."""


class TooManyPixels(UnreadableImage):
    """The header declares more pixels than allowed."""


@dataclass(frozen=True)
class Header:
    """What the first bytes say of an image file.

    Attributes:
        size: (H, W) px as seen, after turning.
        orientation: EXIF value, 1 = upright; 1 too where Pillow itself turns the picture.
        pictures: How many the file holds: pages, or frames of an animation.
        deep: Whether its values need a range to be seen: grey of more than 8 bits.
    """

    size: tuple[int, int]
    orientation: int = 1
    pictures: int = 1
    deep: bool = False


@contextmanager
def opened(path: Path, max_pixels: int) -> Iterator[ImageFile.ImageFile]:
    """The image at `path`, header read, picture not yet decoded.

    Every way in which damaged bytes fail, here and while decoding inside the block, becomes UnreadableImage.
    Raises TooManyPixels before allocation.
    """
    with readable(), path.open("rb") as file:
        start = file.read(32)
        refuse_large(_webp_size(start), max_pixels)
        file.seek(0)
        with _identify(file, path, start) as image:
            refuse_large((image.size[1], image.size[0]), max_pixels)
            yield image


@contextmanager
def readable() -> Iterator[None]:
    """Turn every way in which damaged bytes fail inside the block into UnreadableImage."""
    try:
        yield
    except (UnreadableImage, XMemInferError, MemoryError):
        raise
    except OSError as error:
        raise UnreadableImage(f"cannot be read: {error.strerror or error}") from error
    except Exception as error:  # Pillow answers damaged bytes with exceptions of any kind
        raise UnreadableImage(f"is damaged: {error}") from error


def _identify(file: IO[bytes], path: Path, start: bytes) -> ImageFile.ImageFile:
    # Not Image.open: its own pixel limit is a global, with a warning below ours and an error above it.
    for name in FORMATS:
        factory, accept = Image.OPEN[name]
        if accept is None or accept(start) is True:
            return factory(file, str(path))
    if not start:
        raise UnreadableImage("is empty (0 bytes)")
    raise UnreadableImage("is not a JPEG, PNG, WebP, BMP or TIFF image")


def read_header(path: Path, max_pixels: int) -> Header:
    """What the first bytes of an image file say, without decoding it. Raises UnreadableImage, TooManyPixels."""
    with opened(path, max_pixels) as image:
        return header_of(image)


def header_of(image: ImageFile.ImageFile) -> Header:
    """The header of an image that is opened and not yet decoded, or of the page that it stands at."""
    pictures = 1 if image.format in ("JPEG", "MPO") else getattr(image, "n_frames", 1)  # a photo's second is no frame
    deep = is_deep(image.mode)
    if isinstance(image, TiffImagePlugin.TiffImageFile):
        # Pillow turns TIFF itself when it decodes; which size it tells before depends on its version.
        width, height = image.tag_v2[256], image.tag_v2[257]
        turned = image.tag_v2.get(ORIENTATION, 1) in (5, 6, 7, 8)
        return Header((width, height) if turned else (height, width), 1, pictures, deep)
    orientation = 1
    if "exif" in image.info:  # not getexif(): it decodes the whole of a PNG
        exif = Image.Exif()
        exif.load(image.info["exif"])
        orientation = exif.get(ORIENTATION, 1)
    width, height = image.size
    turned = orientation in (5, 6, 7, 8)
    return Header((width, height) if turned else (height, width), orientation, pictures, deep)


def is_deep(mode: str) -> bool:
    """Whether pixels of this mode of Pillow are numbers of more than 8 bits."""
    return mode in ("I", "F") or mode.startswith("I;16")


def upright(image: Image.Image, header: Header) -> Image.Image:
    """The decoded picture, turned as its EXIF orientation says: the one rule for frames and masks.

    Raises UnreadableImage where the picture is not the one the header promised.
    """
    image.load()
    turned = image.transpose(UPRIGHT[header.orientation]) if header.orientation in UPRIGHT else image
    if turned.size != header.size[::-1]:
        raise UnreadableImage(
            f"changed while in use: {size_words(header.size)} before, {size_words(turned.size[::-1])} now"
        )
    return turned


def read_rgb(path: Path, max_pixels: int) -> np.ndarray:
    """Decode an image file: (H, W, 3) uint8 RGB, turned upright, writable. Raises UnreadableImage, TooManyPixels."""
    with opened(path, max_pixels) as image:
        return to_rgb(upright(image, header_of(image)))


def to_rgb(image: Image.Image, value_range: tuple[float, float] | None = None) -> np.ndarray:
    """(H, W, 3) uint8 RGB of a decoded image of any mode.

    Transparency is left out: the colours beneath it are kept, as ffmpeg and OpenCV do.
    value_range: for deep images, what becomes 0 and 255, the values beyond being clipped; None: the range of this
    picture (`ValueCounts`). Raises UnreadableImage for values without a known range.
    """
    if is_deep(image.mode):
        if value_range is None:
            counts = ValueCounts()
            counts.add(image)
            value_range = counts.range()
        low, high = value_range
        grey = np.clip((np.asarray(image).astype(np.float64) - low) * (255 / (high - low)), 0, 255)
        return np.repeat(np.rint(grey).astype(np.uint8)[..., None], 3, axis=2)
    if image.mode == "P":
        image.info.pop("transparency", None)  # Pillow warns about it on the way to RGB
    return np.array(image.convert("RGB"))


class ValueCounts:
    """How often each value of 16 bits occurs in the pictures of a video, for the range that shows them all."""

    CLIPPED = 0.001  # share of the values at either end, so that a few hot pixels do not darken the rest

    def __init__(self) -> None:
        self.counts = np.zeros(65536, np.int64)

    def add(self, image: Image.Image) -> None:
        """Count a decoded deep image. Raises UnreadableImage where its values are not of 16 bits."""
        if image.mode == "F":
            raise UnreadableImage(f"holds floating point numbers without a known range; {RANGE_ADVICE}")
        values = np.asarray(image)
        if values.size and (values.min() < 0 or values.max() > 65535):
            raise UnreadableImage(f"holds 32-bit values ({values.min()} to {values.max()}); {RANGE_ADVICE}")
        self.counts += np.bincount(values.ravel().astype(np.uint16), minlength=65536)

    def range(self) -> tuple[float, float]:
        """The values that become 0 and 255: all but a thousandth lies between them at either end."""
        reached = np.cumsum(self.counts)
        low = int(np.searchsorted(reached, self.CLIPPED * reached[-1], side="right"))
        high = int(np.searchsorted(reached, (1 - self.CLIPPED) * reached[-1]))
        return (low, high) if low < high else (low, low + 1)


def refuse_large(size: tuple[int, int] | None, max_pixels: int) -> None:
    """Raise TooManyPixels where (H, W) is more than `max_pixels`; None passes."""
    if size is not None and size[0] * size[1] > max_pixels:
        raise TooManyPixels(too_large_words(size, max_pixels))


def too_large_words(size: tuple[int, int], max_pixels: int) -> str:
    """The rest of the sentence for a picture that is over the limit."""
    return (
        f"declares {size_words(size)} = {size[0] * size[1]:,} pixels, more than "
        f"data.max_pixels={max_pixels:,}; if the file is sound, raise data.max_pixels"
    )


def host_array(picture: Any) -> np.ndarray:
    """The numbers of an array, a tensor on any device or a PIL image."""
    return np.asarray(picture.detach().cpu() if hasattr(picture, "detach") else picture)


def size_words(size: tuple[int, ...]) -> str:
    """(H, W) as people say it: width x height."""
    return f"{size[1]}x{size[0]}"


def _webp_size(start: bytes) -> tuple[int, int] | None:
    """(H, W) from the first bytes of a WebP file, None for others: Pillow allocates its canvas when opening."""
    if start[:4] != b"RIFF" or start[8:12] != b"WEBP" or len(start) < 30:
        return None
    kind = start[12:16]
    if kind == b"VP8X":
        width, height = (int.from_bytes(start[at : at + 3], "little") + 1 for at in (24, 27))
    elif kind == b"VP8L":
        bits = struct.unpack_from("<I", start, 21)[0]
        width, height = (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    else:
        width, height = (side & 0x3FFF for side in struct.unpack_from("<HH", start, 26))
    return height, width
