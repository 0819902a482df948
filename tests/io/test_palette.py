"""Label colours: the DAVIS palette by its definition, and visible colours."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from xmem_infer.io.palette import davis_palette, full_palette, visible_colours

SHARED = Path(__file__).resolve().parents[2].parent / "shared"


def voc_colour(label: int) -> tuple[int, int, int]:
    """Return a colour by the VOC development kit: label bits go to R, G and B in turn, high bits first."""
    red = green = blue = 0
    shift = 7
    while label:
        red |= (label & 1) << shift
        green |= (label >> 1 & 1) << shift
        blue |= (label >> 2 & 1) << shift
        label >>= 3
        shift -= 1
    return red, green, blue


def triples(palette):
    return [tuple(palette[i : i + 3]) for i in range(0, len(palette), 3)]


def test_davis_palette_follows_the_definition():
    palette = triples(davis_palette())
    assert palette == [voc_colour(label) for label in range(256)]
    assert palette[:5] == [(0, 0, 0), (128, 0, 0), (0, 128, 0), (128, 128, 0), (0, 0, 128)]
    assert palette[255] == (224, 224, 192)
    assert len(set(palette)) == 256


def test_davis_palette_equals_that_of_real_annotations():
    masks = SHARED / "data" / "multi_object" / "Annotations"
    if not masks.is_dir():
        pytest.skip(f"real annotations are not at {masks}")
    for video in sorted(masks.iterdir()):
        assert bytes(Image.open(sorted(video.glob("*.png"))[0]).getpalette()) == davis_palette()


def test_full_palette_keeps_given_colours_and_fills_the_rest():
    assert full_palette(None) == full_palette(b"") == davis_palette()
    short = bytes([9, 9, 9, 250, 1, 2])
    assert full_palette(short) == short + davis_palette()[6:]
    whole = bytes(range(256)) * 3
    assert full_palette(whole) == whole


def test_visible_colours_are_bright_distinct_and_of_the_same_hue():
    colours = visible_colours(None).astype(int)
    assert colours.dtype == int
    assert colours[0].tolist() == [0, 0, 0]
    assert colours[1:].max(axis=1).min() >= 128
    assert len({tuple(c) for c in colours}) == 256
    for label in range(1, 255):
        stored = np.array(voc_colour(label)) / max(voc_colour(label))
        shown = colours[label] / colours[label].max()
        assert np.abs(stored - shown).max() < 0.01


def test_invisible_labels_get_a_colour():
    """Masks saved as grey values 1 and 2 look black, and white is invisible on bright images."""
    ramp = np.repeat(np.arange(256, dtype=np.uint8), 3).tobytes()
    assert np.array_equal(visible_colours(ramp), visible_colours(None))
    black = visible_colours(bytes(768))
    assert np.array_equal(black[1:255], visible_colours(None)[1:255])
    white = visible_colours(bytes(765) + b"\xff\xff\xff")
    assert np.ptp(white[255].astype(int)) > 128
    own = visible_colours(bytes(765) + bytes([0, 200, 255]))
    assert own[255].tolist() == [0, 200, 255]


def test_given_colours_take_precedence():
    own = bytes([0, 0, 0, 30, 144, 255])
    assert visible_colours(own)[1].tolist() == [30, 144, 255]
