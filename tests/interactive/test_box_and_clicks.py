"""Masks from a box and clicks, on an image whose object has a uniform colour."""

import numpy as np
import pytest

from xmem_infer.errors import UsageError
from xmem_infer.interactive.box_and_clicks import grabcut, propose
from xmem_infer.interactive.random_walk import walker

SIZE = (90, 120)


@pytest.fixture(scope="module")
def scene():
    """A red disc and a red square on a green background; the true mask is the disc."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[: SIZE[0], : SIZE[1]]
    true = (x - 40) ** 2 + (y - 45) ** 2 < 25**2
    image = np.where((true | ((x > 90) & (y > 60)))[..., None], (200, 40, 30), (40, 150, 60))
    image = np.clip(image + rng.normal(0, 8, image.shape), 0, 255).astype(np.uint8)
    return image, true


def iou(found, true):
    return (found & true).sum() / (found | true).sum()


@pytest.mark.parametrize("method", [grabcut, walker])
def test_a_box_and_clicks_give_the_object(scene, method):
    image, true = scene
    found = propose(method, image, box=(14, 19, 67, 72), clicks=[(40, 45, 1)])
    assert found.shape == SIZE and found.dtype == bool
    assert iou(found, true) > 0.85
    assert not found[:, 70:].any()


@pytest.mark.parametrize("method", [grabcut, walker])
def test_clicks_are_always_obeyed(scene, method):
    image, true = scene
    clicks = [(40, 45, 1), (5, 5, 1), (40, 60, -1)]
    found = propose(method, image, mask=true, clicks=clicks)
    assert found[45, 40] and not found[60, 40]


@pytest.mark.parametrize("method", [grabcut, walker])
def test_a_correction_stays_near_its_click(scene, method):
    image, true = scene
    before = true.copy()
    before[60:, 90:] = True  # the square, which does not belong to the object
    found = propose(method, image, mask=before, clicks=[(105, 75, -1)])
    assert not found[75, 105]
    assert (found & true).sum() > 0.9 * true.sum()


@pytest.mark.parametrize("box", [(0, 0, 120, 90), (-5, -5, 300, 200), (50, 40, 51, 41)])
@pytest.mark.parametrize("method", [grabcut, walker])
def test_boxes_beyond_the_image_or_of_one_pixel_work(scene, method, box):
    image, _ = scene
    assert propose(method, image, box=box).shape == SIZE


def test_background_clicks_alone_are_refused(scene):
    image, _ = scene
    with pytest.raises(UsageError, match="a box around it"):
        propose(grabcut, image, clicks=[(3, 3, -1)])


@pytest.mark.parametrize("box", [(300, 300, 400, 400), (-9, -9, -2, -2), (119.8, 10, 150, 40)])
def test_a_box_outside_the_image_is_refused(scene, box):
    with pytest.raises(UsageError, match="contains no pixel of the frame"):
        propose(walker, scene[0], box=box)


@pytest.mark.parametrize("method", [grabcut, walker])
def test_a_click_outside_the_image_is_accepted(scene, method):
    image, true = scene
    assert propose(method, image, mask=true, clicks=[(1e6, -1e6, -1)]).shape == SIZE


def test_a_click_alone_gives_the_object(scene):
    image, true = scene
    assert iou(propose(walker, image, clicks=[(40, 45, 1)]), true) > 0.85


def test_each_click_corrects_the_mask_around_it(scene):
    image, true = scene
    before = true.copy()
    before[60:, 90:] = True
    before[:, 25:35] = False
    one, both = ([(105, 75, -1)], [(105, 75, -1), (30, 45, 1)])
    found = [iou(propose(walker, image, mask=before, clicks=clicks), true) for clicks in ([], one, both)]
    assert found[0] < found[1] < found[2] and found[2] > 0.85
