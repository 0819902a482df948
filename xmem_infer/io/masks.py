"""Label masks: read, checked and explained before anything expensive starts."""

from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from ..errors import UsageError
from ..types import LabelMask
from .images import UnreadableImage, host_array, opened, size_words
from .palette import davis_palette, full_palette
from .smoothing import smoothed_values

WHAT_A_MASK_IS = "A mask is a PNG with one number per pixel (0 = background, 1-255 = objects): greyscale or palette"


def read_mask(path: str | Path, max_pixels: int) -> LabelMask:
    """Read a label image; raises UsageError with what was found and how to mend it.

    Palette and greyscale images give their stored values (a black-and-white 0/255 mask is label 255), 1-bit
    images label 1, RGB images the labels of the DAVIS palette where every colour is one of it.
    `palette` is kept from palette images, filled up to 256 colours with DAVIS's.
    """
    path = Path(path)
    if not path.is_file():
        raise UsageError(f"mask {path} {'is not a file' if path.exists() else 'does not exist'}")
    try:
        with opened(path, max_pixels) as image:
            _refuse_mode(image, path)
            image.load()
            labels, palette = _labels(image, path)
    except UnreadableImage as error:
        raise UsageError(f"mask {path} {error}") from error
    _refuse_smoothed(labels, f"mask {path}")
    return LabelMask(labels, palette, str(path))


def as_mask(mask: Any, max_pixels: int) -> LabelMask:
    """The mask that a path, an array, a tensor or a PIL image holds; a LabelMask as it is. Raises UsageError."""
    if isinstance(mask, LabelMask):
        return mask
    if isinstance(mask, str | Path):
        return read_mask(mask, max_pixels)
    palette = mask.getpalette("RGB") if isinstance(mask, Image.Image) and mask.mode == "P" else None
    return mask_from_array(host_array(mask), None if palette is None else bytes(palette))


def mask_from_array(array: np.ndarray, palette: bytes | None = None) -> LabelMask:
    """A mask from an array (H, W) of bools or integers 0 to 255; True is label 1. Raises UsageError."""
    array = np.asarray(array)
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
    _refuse_smoothed(labels, "the mask array")
    return LabelMask(labels, None if palette is None else full_palette(palette), "array")


def check_mask(mask: LabelMask, size: tuple[int, int], where: str = "the video") -> None:
    """Raise UsageError unless the mask has the frames' size (H, W) px; where: what has that size."""
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


def _refuse_mode(image: Image.Image, path: Path) -> None:
    """Raise UsageError for images that cannot hold labels, told from the header."""
    mode, problem = image.mode, None
    if image.format in ("JPEG", "MPO"):
        problem = "is a JPEG, whose compression changes labels; save the mask as PNG"
    elif mode in ("RGBA", "LA", "PA", "RGBa", "La"):
        problem = f"has transparency ({mode}), which says nothing about labels; save it without an alpha channel"
    elif mode not in ("P", "L", "1", "RGB") and not _is_wide(mode):
        problem = f"has pixels of mode {mode}; save it as greyscale or palette PNG"
    if problem:
        raise UsageError(f"mask {path} {problem}. {WHAT_A_MASK_IS}")


def _labels(image: Image.Image, path: Path) -> tuple[np.ndarray, bytes | None]:
    if _is_wide(image.mode):
        _refuse_wide(np.asarray(image), path)
    if image.mode == "RGB":
        return _from_colours(np.asarray(image), path), davis_palette()
    if image.mode == "P":
        colours = image.getpalette("RGB")
        return np.array(image), full_palette(bytes(colours)) if colours else None
    return np.array(image).astype(np.uint8), None


def _is_wide(mode: str) -> bool:
    return mode == "I" or mode.startswith("I;16")


def _refuse_wide(values: np.ndarray, path: Path) -> None:
    found = np.unique(values)
    objects = int((found != 0).sum())
    if objects > 255:
        raise UsageError(f"mask {path} has {objects} labels, 255 are possible; leave out or join some objects")
    remedy = "save it with 8 bits" if found[-1] <= 255 else "renumber the labels to 1-255 and save it with 8 bits"
    raise UsageError(
        f"mask {path} has 16 bits per pixel (labels: {objects}, up to {found[-1]}); {remedy}. {WHAT_A_MASK_IS}"
    )


def _from_colours(pixels: np.ndarray, path: Path) -> np.ndarray:
    """Labels of an RGB image (H, W, 3), where all its colours are of the DAVIS palette."""
    packed = _pack(pixels.reshape(-1, 3))
    colours, where = np.unique(packed, return_inverse=True)
    palette = _pack(np.frombuffer(davis_palette(), np.uint8).reshape(256, 3))
    order = np.argsort(palette)
    labels = order[np.minimum(np.searchsorted(palette, colours, sorter=order), 255)]
    foreign = colours[palette[labels] != colours]
    if len(foreign):
        red, green, blue = (int(foreign[-1]) >> shift & 255 for shift in (16, 8, 0))
        is_grey = bool((pixels == pixels[..., :1]).all())
        remedy = (
            "it is grey: save it as greyscale, and its values become the labels"
            if is_grey
            else "save the labels themselves, not a coloured picture of them"
        )
        raise UsageError(
            f"mask {path} is RGB with colours that stand for no label of the DAVIS palette ({len(foreign)} of "
            f"{len(colours)}, such as {red}, {green}, {blue}); {remedy}. {WHAT_A_MASK_IS}"
        )
    return labels[where].reshape(pixels.shape[:2]).astype(np.uint8)


def _pack(colours: np.ndarray) -> np.ndarray:
    """(N, 3) uint8 RGB as one integer each."""
    wide = colours.astype(np.int64)
    return wide[:, 0] << 16 | wide[:, 1] << 8 | wide[:, 2]


def _refuse_smoothed(labels: np.ndarray, what: str) -> None:
    at_edges = smoothed_values(labels)
    if at_edges:
        raise UsageError(
            f"{what} has smoothed edges: {at_edges} grey values along them, each of which would become an object. "
            "Save it without anti-aliasing, never as JPEG, and resize it with nearest neighbour; a "
            "black-and-white mask is mended by thresholding at half"
        )
