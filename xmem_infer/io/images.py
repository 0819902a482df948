"""Image files: check headers before allocating memory, and decode images to RGB."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

# The plugins are imported because they register their formats in Image.OPEN.
from PIL import BmpImagePlugin, Image, ImageFile, JpegImagePlugin, PngImagePlugin, TiffImagePlugin, WebPImagePlugin  # noqa: F401

from ..errors import XMemInferError

FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "TIFF")  # no others are read, whatever the file suffix
CLIPPED = 0.001  # share of 16-bit pixels clipped at either end, so that a few hot pixels do not darken the image
RANGE_ADVICE = "set data.range=[LOW,HIGH], or save it with 8 or 16 bits"
ORIENTATION = 0x0112  # EXIF tag: how to rotate or mirror the stored image for display
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
    """An image file cannot be used; the message continues a sentence that starts with the file's name."""


class TooManyPixels(UnreadableImage):
    """The header declares more pixels than allowed."""


@dataclass(frozen=True)
class Header:
    """Header of an image file."""

    size: tuple[int, int]  # (H, W) px after the EXIF orientation is applied
    orientation: int  # EXIF value, 1 to 8; 1 (upright) if Pillow applies the orientation itself
    pictures: int  # number of pages, or frames of an animation
    deep: bool  # whether it is greyscale of more than 8 bits, which needs a value range for display


@contextmanager
def open_image(path: Path, max_pixels: int) -> Iterator[ImageFile.ImageFile]:
    """Open an image and read its header, without decoding it.

    Raises TooManyPixels before anything is allocated, and UnreadableImage also for errors inside the `with` block.
    """
    with convert_errors(), path.open("rb") as file:
        start = file.read(32)
        refuse_large(_webp_size(start), max_pixels)
        file.seek(0)
        with _format_of(start)(file, str(path)) as image:
            refuse_large((image.size[1], image.size[0]), max_pixels)
            yield image


@contextmanager
def convert_errors() -> Iterator[None]:
    """Convert errors that damaged files cause inside the `with` block to UnreadableImage."""
    try:
        yield
    except (UnreadableImage, XMemInferError, MemoryError):
        raise
    except OSError as error:
        raise UnreadableImage(f"cannot be read: {error.strerror or error}") from error
    except Exception as error:  # Pillow raises exceptions of many types for damaged data
        raise UnreadableImage(f"is damaged: {error}") from error


def _format_of(start: bytes) -> Callable[..., ImageFile.ImageFile]:
    """Return what opens images whose first bytes are `start`.

    Image.open is not used because its pixel limit is a global setting that warns or fails independently of max_pixels.
    """
    for name in FORMATS:
        opener, accept = Image.OPEN[name]
        if accept is None or accept(start) is True:
            return opener
    raise UnreadableImage("is not a JPEG, PNG, WebP, BMP or TIFF image" if start else "is empty (0 bytes)")


def read_header(path: Path, max_pixels: int) -> Header:
    """Read the header of an image file. Raises UnreadableImage, TooManyPixels."""
    with open_image(path, max_pixels) as image:
        return header_of(image)


def header_of(image: ImageFile.ImageFile) -> Header:
    """Return the header of an opened, not yet decoded image, or of its current page."""
    # The second picture of a JPEG photo (MPO) is a preview or another view, not a frame.
    pictures = 1 if image.format in ("JPEG", "MPO") else getattr(image, "n_frames", 1)
    (width, height), orientation = image.size, 1
    if isinstance(image, TiffImagePlugin.TiffImageFile):
        # Pillow applies the orientation of TIFF while decoding; the size reported before depends on its version.
        width, height, orientation = image.tag_v2[256], image.tag_v2[257], image.tag_v2.get(ORIENTATION, 1)
    elif "exif" in image.info:  # not getexif(), which decodes the whole image for PNG
        exif = Image.Exif()
        exif.load(image.info["exif"])
        orientation = exif.get(ORIENTATION, 1)
    size = (width, height) if orientation in (5, 6, 7, 8) else (height, width)
    return Header(size, 1 if image.format == "TIFF" else orientation, pictures, is_deep(image.mode))


def is_deep(mode: str) -> bool:
    """Return whether images of this Pillow mode have more than 8 bits per pixel value."""
    return mode in ("I", "F") or mode.startswith("I;16")


def upright(image: Image.Image, header: Header) -> Image.Image:
    """Decode an image and apply its EXIF orientation. Raises UnreadableImage if it changed since `header` was read."""
    image.load()
    turned = image.transpose(UPRIGHT[header.orientation]) if header.orientation in UPRIGHT else image
    if turned.size != header.size[::-1]:
        raise UnreadableImage(
            f"changed while in use: {size_words(header.size)} before, {size_words(turned.size[::-1])} now"
        )
    return turned


def read_rgb(path: Path, max_pixels: int) -> np.ndarray:
    """Decode an image file to a writable (H, W, 3) uint8 RGB array, upright. Raises UnreadableImage, TooManyPixels."""
    with open_image(path, max_pixels) as image:
        return to_rgb(upright(image, header_of(image)))


def to_rgb(image: Image.Image, value_range: list[float] | None = None) -> np.ndarray:
    """Convert a decoded image of any mode to (H, W, 3) uint8 RGB.

    The alpha channel is dropped and the stored colours of transparent pixels are used, as ffmpeg and OpenCV do.

    value_range: the values that map to 0 and 255 in images of more than 8 bits, by default computed from this image;
    values outside are clipped. Raises UnreadableImage if the range cannot be computed.
    """
    if is_deep(image.mode):
        low, high = value_range or range_of(value_counts(image))
        grey = np.clip((np.asarray(image).astype(np.float64) - low) * (255 / (high - low)), 0, 255)
        return np.repeat(np.rint(grey).astype(np.uint8)[..., None], 3, axis=2)
    if image.mode == "P":
        image.info.pop("transparency", None)  # otherwise Pillow warns during the conversion
    return np.array(image.convert("RGB"))


def value_counts(image: Image.Image) -> np.ndarray:
    """Return how often each 16-bit value occurs in a decoded image of more than 8 bits: (65536,) int64.

    Raises UnreadableImage if the values do not fit into 16 bits.
    """
    if image.mode == "F":
        raise UnreadableImage(f"holds floating point numbers without a known range; {RANGE_ADVICE}")
    values = np.asarray(image)
    if values.size and (values.min() < 0 or values.max() > 65535):
        raise UnreadableImage(f"holds 32-bit values ({values.min()} to {values.max()}); {RANGE_ADVICE}")
    return np.bincount(values.ravel().astype(np.uint16), minlength=65536)


def range_of(counts: np.ndarray) -> list[float]:
    """Return the values that map to 0 and 255, from the sum of `value_counts` over all frames of a video."""
    cumulative = np.cumsum(counts)
    low = int(np.searchsorted(cumulative, CLIPPED * cumulative[-1], side="right"))
    high = int(np.searchsorted(cumulative, (1 - CLIPPED) * cumulative[-1]))
    return [low, max(high, low + 1)]


def refuse_large(size: tuple[int, int], max_pixels: int) -> None:
    """Raise TooManyPixels if an image of this (H, W) exceeds `max_pixels`."""
    if size[0] * size[1] > max_pixels:
        raise TooManyPixels(
            f"declares {size_words(size)} = {size[0] * size[1]:,} pixels, more than "
            f"data.max_pixels={max_pixels:,}; if the file is sound, raise data.max_pixels"
        )


def host_array(picture: Any) -> np.ndarray:
    """Convert an array, a tensor on any device or a PIL image to a NumPy array."""
    return np.asarray(picture.detach().cpu() if hasattr(picture, "detach") else picture)


def size_words(size: tuple[int, ...]) -> str:
    """Format (H, W) as "WxH"."""
    return f"{size[1]}x{size[0]}"


def _webp_size(start: bytes) -> tuple[int, int]:
    """Parse (H, W) from the first bytes of a WebP file, whose canvas Pillow allocates on opening; others: (0, 0)."""
    if start[:4] != b"RIFF" or start[8:12] != b"WEBP" or len(start) < 30:
        return 0, 0
    if start[12:16] == b"VP8X":
        return int.from_bytes(start[27:30], "little") + 1, int.from_bytes(start[24:27], "little") + 1
    if start[12:16] == b"VP8L":
        bits = int.from_bytes(start[21:25], "little")
        return (bits >> 14 & 0x3FFF) + 1, (bits & 0x3FFF) + 1
    return int.from_bytes(start[28:30], "little") & 0x3FFF, int.from_bytes(start[26:28], "little") & 0x3FFF
