"""The example clip matches its README."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from xmem_infer.io.palette import davis_palette

ROOT = Path(__file__).resolve().parents[2]
PICTURES = sorted((ROOT / "examples" / "clip" / "JPEGImages" / "scene").glob("*.jpg"))
MASKS = sorted((ROOT / "examples" / "clip" / "Annotations" / "scene").glob("*.png"))


@pytest.fixture(scope="module")
def areas():
    """Areas of car and ball in px, by frame."""
    masks = [np.asarray(Image.open(path)) for path in MASKS]
    return np.array([[(mask == label).sum() for label in (1, 2)] for mask in masks])


def test_every_frame_has_a_palette_mask_of_two_labels():
    assert len(PICTURES) == 48
    assert [path.stem for path in PICTURES] == [path.stem for path in MASKS] == [f"{i:05d}" for i in range(48)]
    for picture, mask in zip(PICTURES, MASKS, strict=True):
        image = Image.open(mask)
        assert image.mode == "P"
        assert bytes(image.getpalette()) == davis_palette()
        assert image.size == Image.open(picture).size == (432, 240)
        assert set(np.unique(np.asarray(image))) <= {0, 1, 2}
    assert set(np.unique(np.asarray(Image.open(MASKS[0])))) == {0, 1, 2}


def test_the_clip_is_small():
    assert sum(path.stat().st_size for path in [*PICTURES, *MASKS]) < 2_000_000


def test_objects_are_hidden_for_a_while_and_return(areas):
    car, ball = areas.T
    assert ball[0] > 1500
    assert np.flatnonzero(ball == 0).tolist() == [10, 11, 12, 23], "behind the tree, then behind the car"
    assert ball[-5:].min() > 0.9 * ball[0]
    hidden = np.flatnonzero(car < car.max() / 2)
    assert len(hidden) >= 5
    assert 24 < hidden.min() < hidden.max() < 38
    assert car[44] > 0.95 * car.max()
