"""Colours of labels: the palette stored in mask files, and a brightened twin for drawing over pictures."""

from collections.abc import Iterable, Mapping

import numpy as np

PALETTE_BYTES = 768  # 256 colours of 3 bytes: a full PNG palette
VIVID = (255, 45, 130)  # for label 255, the object of black-and-white masks: rare in nature, unlike white


def davis_palette() -> bytes:
    """The palette of PASCAL VOC and DAVIS: 768 bytes, RGB triples of labels 0 (black) to 255.

    Bit k of a colour's channel c, counted from the top, is bit 3k + c of the label: neighbouring labels
    get distant colours (1 red, 2 green, 3 olive, 4 blue, ...).
    """
    label = np.arange(256)
    colours = np.zeros((256, 3), np.uint8)
    for bit in range(8):
        for channel in range(3):
            colours[:, channel] |= ((label >> (3 * bit + channel) & 1) << (7 - bit)).astype(np.uint8)
    return colours.tobytes()


def full_palette(palette: bytes | None) -> bytes:
    """`palette` as 768 bytes: a missing one is DAVIS's, a short one is filled up with DAVIS's later colours.

    Raises ValueError where the length is not a multiple of 3 or above 768.
    """
    given = palette or b""
    if len(given) % 3 or len(given) > PALETTE_BYTES:
        raise ValueError(f"a palette has up to 256 colours of 3 bytes, got {len(given)} bytes")
    return given + davis_palette()[len(given) :]


def with_colours(palette: bytes | None, colours: Mapping[int, Iterable[int]]) -> bytes:
    """`full_palette` with these colours, (red, green, blue) by label, in place of its own."""
    table = bytearray(full_palette(palette))
    for label, colour in colours.items():
        table[3 * label : 3 * label + 3] = bytes(colour)
    return bytes(table)


def visible_colours(palette: bytes | None) -> np.ndarray:
    """Colours (256, 3) uint8 for drawing labels over pictures; row 0 (background) is black.

    Hues are the palette's. Dark ones are brightened (the strongest channel m becomes 128 + m / 2, which
    keeps two shades of a hue apart); labels that the palette paints black or as near-black grey (masks
    whose palette is the grey ramp 0, 1, 2, ...) take the DAVIS colour, or nobody would see them. Label 255,
    where it is a shade of white, becomes pink.
    """
    colours = np.frombuffer(full_palette(palette), np.uint8).reshape(256, 3).astype(np.float32)
    davis = np.frombuffer(davis_palette(), np.uint8).reshape(256, 3)
    grey_ramp = bool((colours == np.arange(256)[:, None]).all())
    unseen = (colours.max(axis=1) < 24) | grey_ramp
    colours[unseen] = davis[unseen]
    strongest = np.maximum(colours.max(axis=1, keepdims=True), 1)
    colours *= (128 + strongest / 2) / strongest
    if np.ptp(colours[255]) < 64:
        colours[255] = VIVID
    colours[0] = 0
    return np.clip(np.rint(colours), 0, 255).astype(np.uint8)
