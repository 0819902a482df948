"""The example clip is what its README says, and its script still draws it."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from xmem_infer.io.palette import davis_palette

ROOT = Path(__file__).resolve().parents[2]
PICTURES = sorted((ROOT / "examples" / "clip" / "JPEGImages" / "scene").glob("*.jpg"))
MASKS = sorted((ROOT / "examples" / "clip" / "Annotations" / "scene").glob("*.png"))


@pytest.fixture(scope="module")
def drawing():
    spec = importlib.util.spec_from_file_location("draw_example", ROOT / "scripts" / "draw_example.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def areas():
    """Pixels of car and ball by frame."""
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


@pytest.mark.parametrize("index", [0, 1, 22, 33])
def test_drawing_again_gives_the_same_masks(drawing, index):
    scene = drawing.Scene(float(index), drawing.Noise(7))
    x, y = np.meshgrid(np.arange(drawing.WIDTH) + 0.5, np.arange(drawing.HEIGHT) + 0.5)
    assert np.array_equal(scene.masks(x, y), np.asarray(Image.open(MASKS[index])))


def test_the_script_draws_the_same_frame_again(drawing, tmp_path, monkeypatch):
    monkeypatch.setattr("sys.argv", ["draw_example.py", "--out", str(tmp_path), "--frames", "1"])
    drawing.main()
    mask = Image.open(tmp_path / "Annotations" / "scene" / "00000.png")
    assert mask.mode == "P"
    assert np.array_equal(np.asarray(mask), np.asarray(Image.open(MASKS[0])))
    again = np.asarray(Image.open(tmp_path / "JPEGImages" / "scene" / "00000.jpg"), float)
    difference = np.abs(again - np.asarray(Image.open(PICTURES[0])))
    assert difference.mean() < 2  # JPEG encoders differ a little
    assert np.percentile(difference, 99.5) < 20


def test_masks_fit_the_picture(drawing):
    """Taking the objects away changes the picture where the masks are, and above their shadows nowhere else."""
    picture, labels = np.asarray(Image.open(PICTURES[0])), np.asarray(Image.open(MASKS[0]))
    empty = drawing.Scene(0.0, drawing.Noise(7))
    empty.car_x = empty.ball_x = -900.0
    x, y = np.meshgrid(*((np.arange(n * 2) + 0.5) / 2 for n in (drawing.WIDTH, drawing.HEIGHT)))
    ground = empty.picture(x, y).reshape(drawing.HEIGHT, 2, drawing.WIDTH, 2, 3).mean((1, 3))
    changed = np.abs(picture / 255 - np.clip(ground, 0, 1) ** 0.95).max(axis=2) > 0.1
    assert changed[labels == 1].mean() > 0.9
    assert changed[labels == 2].mean() > 0.8  # its shaded white panel is as grey as the road
    assert changed[:140][labels[:140] == 0].mean() < 0.02
