"""Read label masks and check them, with messages that explain what is wrong and how to correct it."""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageFile

from ..errors import UsageError
from ..types import LabelMask
from .images import Header, UnreadableImage, header_of, host_array, is_deep, open_image, size_words, upright
from .mask_colours import ColourIds, pack
from .palette import full_palette
from .smoothing import smoothed_values

log = logging.getLogger(__name__)

WHAT_A_MASK_IS = (
    "A mask is a PNG with one number per pixel (0 = background, 1-255 = objects), greyscale or palette, or with one "
    "flat colour per object on black"
)


def read_mask(path: str | Path, max_pixels: int, colours: ColourIds | None = None) -> LabelMask:
    """Read a label image and apply its EXIF orientation, as for frames.

    The ids of palette and greyscale images are their stored values (a black-and-white 0/255 mask has object 255);
    a 1-bit image has object 1. Flat colours are mapped to ids by `ColourIds`, and the mapping is logged. Fully
    transparent pixels are background. The result's `palette` is that of a palette image, extended to 256 colours
    with the DAVIS palette, or built from the flat colours.

    Args:
        path: An image file with a single picture.
        max_pixels: Images whose header declares more pixels are refused before memory is allocated.
        colours: Colours of the masks already read for the same video; new colours are added.

    Raises:
        UsageError: The file is not a valid mask; the message says what is wrong and how to correct it.
    """
    path = Path(path)
    if not path.is_file():
        raise UsageError(f"mask {path} {_why_no_file(path)}")
    try:
        with open_image(path, max_pixels) as image:
            header = header_of(image)
            _refuse_format(image, header, path)
            ids, palette = _ids(upright(image, header), path, ColourIds() if colours is None else colours)
    except UnreadableImage as error:
        raise UsageError(f"mask {path} {error}") from error
    _refuse_smoothed([ids], f"mask {path}")
    return LabelMask(ids, palette, str(path))


def _why_no_file(path: Path) -> str:
    try:
        path.stat()
    except FileNotFoundError:
        return "is a link to a file that does not exist" if path.is_symlink() else "does not exist"
    except OSError as error:
        return f"cannot be read: {error.strerror}"
    return "is not a file"


def as_mask(mask: Any, max_pixels: int, colours: ColourIds | None = None) -> LabelMask:
    """Convert a path, array, tensor or PIL image to a LabelMask; a LabelMask is returned unchanged.

    Args:
        mask: The mask.
        max_pixels: See `read_mask`.
        colours: See `read_mask`.

    Raises:
        UsageError: It is not a valid mask.
    """
    if isinstance(mask, LabelMask):
        return mask
    if isinstance(mask, str | Path):
        return read_mask(mask, max_pixels, colours)
    palette = mask.getpalette("RGB") if isinstance(mask, Image.Image) and mask.mode == "P" else None
    return mask_from_array(host_array(mask), None if palette is None else bytes(palette))


def mask_from_array(array: np.ndarray, palette: bytes | None = None) -> LabelMask:
    """Create a mask from an (H, W) array of bools or integers from 0 to 255; True is object 1. Raises UsageError."""
    array = np.asarray(array)
    if array.dtype == object and array.ndim == 0:
        raise UsageError(f"a mask is a file, an array, a tensor or a PIL image, got {array.tolist()!r}")
    is_number = array.dtype == bool or np.issubdtype(array.dtype, np.integer)
    if array.ndim != 2 or not is_number or array.size == 0:
        raise UsageError(
            "a mask array must have shape (height, width) and hold integers or bools, "
            f"got shape {array.shape} and type {array.dtype}"
        )
    if array.min() < 0 or array.max() > 255:
        values = np.unique(array)
        many = f"; it has {len(values)} different ones" if len(values) > 256 else "; renumber its objects"
        raise UsageError(f"a mask array holds labels from 0 to 255, got values from {values[0]} to {values[-1]}{many}")
    labels = array.astype(np.uint8)
    _refuse_smoothed([labels], "the mask array")
    return LabelMask(labels, None if palette is None else full_palette(palette), "array")


def check_mask(mask: LabelMask, size: tuple[int, int], where: str = "the video") -> None:
    """Raise UsageError unless the mask has the given size (H, W) px; where: what has that size, for the message."""
    found = (mask.ids.shape[0], mask.ids.shape[1])
    if found == size:
        return
    if found == size[::-1]:
        hint = "it looks turned by 90 degrees: draw it on the frame as it is shown, rotation applied"
    elif abs(found[0] * size[1] - found[1] * size[0]) <= max(*found, *size):
        hint = "it has the same shape: resize it with nearest neighbour, which invents no labels"
    else:
        hint = "a mask is drawn on a frame of the video, pixel for pixel"
    raise UsageError(f"mask {mask.source} is {size_words(found)}, {where} is {size_words(size)}; {hint}")


def _refuse_format(image: ImageFile.ImageFile, header: Header, path: Path) -> None:
    """Raise UsageError if, by its header, the file cannot be a label image."""
    problem = None
    if image.format in ("JPEG", "MPO"):
        problem = "is a JPEG, whose compression changes labels; save the mask as PNG"
    elif header.pictures > 1:
        problem = (
            f"holds {header.pictures} pictures (an animation, or pages), and a mask is one; save the one that is meant "
            "as a file of its own"
        )
    elif image.mode not in ("P", "L", "1", "RGB", "RGBA", "LA", "PA", "I") and not image.mode.startswith("I;16"):
        problem = f"has pixels of mode {image.mode}; save it as greyscale or palette PNG"
    if problem:
        raise UsageError(f"mask {path} {problem}. {WHAT_A_MASK_IS}")


def _ids(image: Image.Image, path: Path, colours: ColourIds) -> tuple[np.ndarray, bytes | None]:
    """Return the (H, W) uint8 object ids of a decoded mask, and its palette."""
    if image.mode in ("RGB", "RGBA", "LA", "PA"):
        return _from_colours(image, path, colours)
    values = np.array(image)
    if is_deep(image.mode):
        _refuse_large_values(values, path)
    stored = image.getpalette("RGB") if image.mode == "P" else None
    palette = full_palette(bytes(stored)) if stored else None
    colours.note(np.unique(values.astype(np.uint8)).tolist(), palette)
    return values.astype(np.uint8), palette


def _refuse_large_values(values: np.ndarray, path: Path) -> None:
    found = np.unique(values)
    objects = int((found != 0).sum())
    if objects > 255:
        raise UsageError(f"mask {path} has {objects} labels, 255 are possible; leave out or join some objects")
    if found[0] < 0 or found[-1] > 255:
        raise UsageError(
            f"mask {path} has 16 bits per pixel (labels: {objects}, from {found[0]} to {found[-1]}), and labels go up "
            f"to 255; renumber them to 1-255. {WHAT_A_MASK_IS}"
        )


def _from_colours(image: Image.Image, path: Path, known: ColourIds) -> tuple[np.ndarray, bytes]:
    """Return the object ids and palette of an image painted in flat colours; transparent pixels are background."""
    pixels = np.array(image.convert("RGBA"))
    transparent = pixels[..., 3] == 0
    if (~transparent & (pixels[..., 3] < 255)).any():
        raise UsageError(
            f"mask {path} has half-transparent pixels, as soft edges have; save it with pixels that are fully opaque "
            f"or fully transparent. {WHAT_A_MASK_IS}"
        )
    pixels[transparent] = 0
    _refuse_smoothed([pixels[..., channel] for channel in range(3)], f"mask {path}")
    packed = pack(pixels)
    try:
        new = known.assign(np.unique(packed).tolist())
    except ValueError as error:
        raise UsageError(f"mask {path} is no mask but a picture: {error}. {WHAT_A_MASK_IS}") from error
    if new:
        log.info(f"mask {path}: its colours are objects: {known.describe(new)}")
    return known.lookup(packed), known.palette()


def _refuse_smoothed(channels: Sequence[np.ndarray], what: str) -> None:
    at_edges = max(smoothed_values(channel) for channel in channels)
    if at_edges:
        raise UsageError(
            f"{what} has smoothed edges: {at_edges} grey values along them, each of which would become an object. "
            "Save it without anti-aliasing, never as JPEG, and resize it with nearest neighbour; a "
            "black-and-white mask is mended by thresholding at half"
        )
