"""Colours of object ids: the palette stored in mask files, and a brighter version for overlays."""

from collections.abc import Iterable, Mapping

import numpy as np

VIVID = (255, 45, 130)  # for id 255, the object of black-and-white masks: pink is rare in nature, unlike white


def davis_palette() -> bytes:
    """Return the palette of PASCAL VOC and DAVIS: 768 bytes, RGB triples of the ids 0 (black) to 255.

    Bit 7 - k of a colour's channel c is bit 3k + c of the id, so that consecutive ids get very different colours
    (1 red, 2 green, 3 olive, 4 blue, ...).
    """
    label = np.arange(256)
    colours = np.zeros((256, 3), np.uint8)
    for bit in range(8):
        for channel in range(3):
            colours[:, channel] |= ((label >> (3 * bit + channel) & 1) << (7 - bit)).astype(np.uint8)
    return colours.tobytes()


def full_palette(palette: bytes | None) -> bytes:
    """Extend `palette` to 768 bytes; missing colours are taken from the DAVIS palette."""
    given = palette or b""
    return given + davis_palette()[len(given) :]


def with_colours(palette: bytes | None, colours: Mapping[int, Iterable[int]]) -> bytes:
    """Return `full_palette(palette)` with some colours replaced; colours: (red, green, blue) by id."""
    table = bytearray(full_palette(palette))
    for label, colour in colours.items():
        table[3 * label : 3 * label + 3] = bytes(colour)
    return bytes(table)


def visible_colours(palette: bytes | None) -> np.ndarray:
    """Return colours (256, 3) uint8 for drawing objects over frames; row 0 (background) is black.

    Hues are those of the palette. Every colour is brightened: its strongest channel m becomes 128 + m / 2, so
    that two shades of one hue remain distinguishable. Ids that would be invisible, because the palette colour is
    nearly black or the palette is a grey ramp (0, 1, 2, ...), get their DAVIS colour. If the colour of id 255 is
    nearly grey or white, it becomes pink.
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
