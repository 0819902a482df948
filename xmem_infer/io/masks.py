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

log = logging.getLogger(__name__)

WHAT_A_MASK_IS = (
    "A mask is a PNG with one number per pixel (0 = background, 1-255 = objects), greyscale or palette, or with one "
    "flat colour per object on black"
)


SLOPE_SHARE, SPECKLE_SHARE = 0.15, 0.05  # of the edge pixels; above these, a mask is smoothed
MIN_PX = 24  # with fewer pixels than this on slopes or speckles, a mask passes
HALF_DIRECTIONS = ((0, 1), (1, 0), (1, 1), (1, -1))


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
    if path.is_fifo():
        raise UsageError(f"mask {path} is not a file")  # opening it would wait for its writer
    try:
        with open_image(path, max_pixels) as image:
            header = header_of(image)
            _refuse_format(image, header, path)
            ids, palette = _ids(upright(image, header), path, ColourIds() if colours is None else colours)
    except UnreadableImage as error:
        raise UsageError(f"mask {path} {error}") from error
    _refuse_smoothed([ids], f"mask {path}")
    return LabelMask(ids, palette, str(path))


def as_mask(mask: Any, max_pixels: int, colours: ColourIds | None = None) -> LabelMask:
    """Convert a path (see `read_mask`), array, tensor or PIL image to a LabelMask; a LabelMask is returned unchanged.

    Arrays are (H, W) bools or integers from 0 to 255; True is object 1. Raises UsageError if it is not a valid mask.
    """
    if isinstance(mask, LabelMask):
        return mask
    if isinstance(mask, str | Path):
        return read_mask(mask, max_pixels, colours)
    array = host_array(mask)
    if array.dtype == object and array.ndim == 0:
        raise UsageError(f"a mask is a file, an array, a tensor or a PIL image, got {array.tolist()!r}")
    stored = mask.getpalette("RGB") if isinstance(mask, Image.Image) and mask.mode == "P" else None
    checked = LabelMask(array.astype(np.uint8) if array.dtype == bool else array, source="the mask array")
    ids = checked.ids.astype(np.uint8)
    _refuse_smoothed([ids], checked.source)
    return LabelMask(ids, full_palette(bytes(stored)) if stored else None, "array")


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
        found = np.unique(values)
        objects = int((found != 0).sum())
        if objects > 255:
            raise UsageError(f"mask {path} has {objects} labels, 255 are possible; leave out or join some objects")
        if found[0] < 0 or found[-1] > 255:
            raise UsageError(
                f"mask {path} has 16 bits per pixel (labels: {objects}, from {found[0]} to {found[-1]}), and labels go "
                f"up to 255; renumber them to 1-255. {WHAT_A_MASK_IS}"
            )
    stored = image.getpalette("RGB") if image.mode == "P" else None
    palette = full_palette(bytes(stored)) if stored else None
    colours.note(np.unique(values.astype(np.uint8)).tolist(), palette)
    return values.astype(np.uint8), palette


def _from_colours(image: Image.Image, path: Path, known: ColourIds) -> tuple[np.ndarray, bytes]:
    """Return the object ids and palette of a mask in flat colours; fully transparent pixels are background."""
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


def smoothed_values(labels: np.ndarray) -> int:
    """Count the distinct values on smoothed edges of `labels` (H, W) uint8; 0 if its edges are sharp.

    Masks that were anti-aliased, blurred, resized with interpolation or JPEG-compressed have many slopes or speckles
    among their edge pixels. Slopes lie strictly between their left and right or their upper and lower neighbours; at
    least three values must occur on them. Speckles, the ringing artefacts of JPEG, differ from all eight neighbours; at
    least two values must occur on them repeatedly.

    The thresholds were chosen on 2,000 valid label images (DAVIS, YouTube-VOS, COCO, BSDS with up to 88 regions, some
    of them shrunk and relabelled), in which slopes make up at most 0.10 of the edge pixels and speckles at most 0.03,
    and on 2,000 damaged ones. Not detected: a resize that copies nearly every pixel, and low ids (1 to 5) blurred so
    slightly that no new value appears.
    """
    values = labels.astype(np.int16)
    flat = np.ones(values.shape, bool)
    slope = np.zeros(values.shape, bool)
    speckle = np.ones(values.shape, bool)
    padded = np.pad(values, 1, constant_values=-1)  # -1 marks pixels outside the image
    height, width = values.shape

    def neighbour(down: int, right: int) -> np.ndarray:
        return padded[1 + down : 1 + down + height, 1 + right : 1 + right + width]

    for direction in HALF_DIRECTIONS:
        ahead, behind = neighbour(*direction), neighbour(-direction[0], -direction[1])
        speckle &= (values != ahead) & (values != behind)
        if 0 in direction:  # not diagonally, where sharp corners of neighbouring regions can look like slopes
            inside = (ahead >= 0) & (behind >= 0)
            slope |= inside & (np.sign(values - ahead) * np.sign(values - behind) < 0)
            flat &= ((values == ahead) | (ahead < 0)) & ((values == behind) | (behind < 0))
    edges = max(1, int((~flat).sum()))

    on_slopes, on_speckles = (np.bincount(labels[pixels], minlength=256) for pixels in (slope, speckle))
    is_sloped = on_slopes.sum() >= max(MIN_PX, SLOPE_SHARE * edges) and (on_slopes > 0).sum() >= 3
    is_speckled = on_speckles.sum() >= max(MIN_PX, SPECKLE_SHARE * edges) and (on_speckles > 1).sum() >= 2
    return int(((on_slopes > 0) | (on_speckles > 0)).sum()) if is_sloped or is_speckled else 0
