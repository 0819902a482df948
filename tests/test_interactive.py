"""Masks from a box and clicks, on a picture whose object is plain."""

import numpy as np
import pytest

from xmem_infer.errors import UsageError
from xmem_infer.interactive import WAYS, frame_keys, propose
from xmem_infer.predictor import Segmenter

SIZE = (90, 120)


@pytest.fixture(scope="module")
def scene():
    """A red disc and a red square before green; true: the disc."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[: SIZE[0], : SIZE[1]]
    true = (x - 40) ** 2 + (y - 45) ** 2 < 25**2
    image = np.where((true | ((x > 90) & (y > 60)))[..., None], (200, 40, 30), (40, 150, 60))
    image = np.clip(image + rng.normal(0, 8, image.shape), 0, 255).astype(np.uint8)
    keys = image.reshape(18, 5, 24, 5, 3).mean((1, 3)).astype(np.float32) / 255  # colours serve as keys
    return image, true, keys


def iou(found, true):
    return (found & true).sum() / (found | true).sum()


@pytest.mark.parametrize("way", WAYS.names())
def test_a_box_and_clicks_give_the_object(scene, way):
    image, true, keys = scene
    found = propose(way, image, box=(14, 19, 67, 72), clicks=[(40, 45, 1)], keys=keys)
    assert found.shape == SIZE and found.dtype == bool
    assert iou(found, true) > 0.85
    assert not found[:, 70:].any()


@pytest.mark.parametrize("way", WAYS.names())
def test_clicks_are_always_obeyed(scene, way):
    image, true, keys = scene
    clicks = [(40, 45, 1), (5, 5, 1), (40, 60, -1)]
    found = propose(way, image, mask=true, clicks=clicks, keys=keys)
    assert found[45, 40] and not found[60, 40]


@pytest.mark.parametrize("way", WAYS.names())
def test_a_correction_stays_near_its_click(scene, way):
    image, true, keys = scene
    before = true.copy()
    before[60:, 90:] = True  # the square, which is none of the object
    found = propose(way, image, mask=before, clicks=[(105, 75, -1)], keys=keys)
    assert not found[75, 105]
    assert (found & true).sum() > 0.9 * true.sum()


@pytest.mark.parametrize("box", [(0, 0, 120, 90), (-5, -5, 300, 200), (50, 40, 51, 41)])
@pytest.mark.parametrize("way", WAYS.names())
def test_odd_boxes_work(scene, way, box):
    image, _, keys = scene
    assert propose(way, image, box=box, keys=keys).shape == SIZE


def test_nothing_marked_and_no_keys_are_refused(scene):
    image, true, _ = scene
    with pytest.raises(UsageError, match="a box around it"):
        propose("grabcut", image, clicks=[(3, 3, -1)])
    with pytest.raises(UsageError, match="keys"):
        propose("walker", image, box=(14, 19, 67, 72))
    with pytest.raises(UsageError, match="grabcut, walker"):
        propose("magic", image, mask=true)


def test_the_embedded_network_gives_keys(scene):
    keys = frame_keys(Segmenter.from_weights("xmem-tiny", size=90), scene[0])
    assert keys.ndim == 3 and keys.dtype == np.float32
    assert keys.shape[0] < keys.shape[1]
    assert np.isfinite(keys).all()
