"""The measures of one frame and one object, compared with a reference written from the definition."""

import math

import numpy as np
import pytest
import reference_metrics as twin
from hypothesis import given, settings
from hypothesis import strategies as st

from xmem_infer.scoring.metrics import (
    boundary_map,
    boundary_measure,
    boundary_radius,
    chosen_metrics,
    decay,
    disk,
    ids_in,
    recall,
    region_similarity,
    score_objects,
)


def jaccard(prediction, annotation):
    return region_similarity(prediction, annotation, prediction.shape)


J_AND_F = list(chosen_metrics(("J", "F")).values())
SIDES = st.integers(1, 22)


@st.composite
def masks(draw, number=2, labels=3):
    """Draw `number` label masks of one shape: rectangles up to the borders, and scattered single pixels."""
    height, width = draw(SIDES), draw(SIDES)
    drawn = []
    for _ in range(number):
        mask = np.zeros((height, width), np.uint8)
        for _ in range(draw(st.integers(0, 4))):
            top, left = draw(st.integers(0, height - 1)), draw(st.integers(0, width - 1))
            bottom, right = draw(st.integers(top + 1, height)), draw(st.integers(left + 1, width))
            mask[top:bottom, left:right] = draw(st.integers(0, labels))
        for _ in range(draw(st.integers(0, 4))):
            mask[draw(st.integers(0, height - 1)), draw(st.integers(0, width - 1))] = draw(st.integers(0, labels))
        drawn.append(mask)
    return drawn


@settings(max_examples=150)
@given(masks(labels=1))
def test_boundary_equals_its_definition(pair):
    for mask in pair:
        assert [tuple(at) for at in np.argwhere(boundary_map(mask)).tolist()] == twin.boundary(mask.astype(bool))


@settings(max_examples=150)
@given(masks(labels=1), st.integers(1, 9))
def test_j_and_f_are_bit_identical_to_the_reference(pair, radius):
    prediction, annotation = pair
    as_bool = [mask.astype(bool) for mask in pair]
    assert jaccard(prediction, annotation) == twin.jaccard(*as_bool)
    assert boundary_measure(prediction, annotation, radius) == twin.boundary_f(*as_bool, radius)


@settings(max_examples=150)
@given(masks(labels=3))
def test_cropping_does_not_change_the_measures_of_a_frame(pair):
    prediction, annotation = pair
    for label, (j, f) in score_objects(prediction, annotation, (1, 2, 3), J_AND_F).items():
        assert j == twin.jaccard(prediction == label, annotation == label)
        assert f == twin.boundary_f(prediction == label, annotation == label)


def blob(height, width, y, x, radius, dents):
    rows, columns = np.mgrid[:height, :width]
    angle = np.arctan2(rows - y, columns - x)
    return (np.hypot(rows - y, columns - x) < radius * (1 + 0.2 * np.sin(dents * angle))).astype(np.uint8)


def test_a_whole_frame_equals_the_reference():
    annotation, prediction = blob(270, 480, 170, 290, 80, 7), blob(270, 480, 164, 296, 78, 6)
    scores = score_objects(prediction, annotation, [1], J_AND_F)[1]
    expected = (
        twin.jaccard(prediction == 1, annotation == 1),
        twin.boundary_f(prediction == 1, annotation == 1),
    )
    assert scores == expected
    assert 0 < scores[0] < 1


def test_values_computed_by_hand():
    annotation, prediction = np.zeros((2, 10, 12), np.uint8)
    annotation[2:6, 2:6] = 1
    prediction[2:6, 4:8] = 1
    assert jaccard(prediction, annotation) == 8 / 24
    assert boundary_measure(prediction, annotation, 2) == 1.0  # no boundary pixel is more than 2 px off
    assert boundary_measure(prediction, np.zeros_like(prediction), 2) == 0.0
    assert boundary_measure(np.zeros_like(prediction), annotation, 2) == 0.0
    assert boundary_measure(np.zeros_like(prediction), np.zeros_like(prediction), 2) == 1.0
    assert score_objects(prediction, annotation, [1, 9], J_AND_F)[9] == (1.0, 1.0)


@pytest.mark.parametrize(("height", "width", "radius"), [(480, 854, 8), (240, 432, 4), (1080, 1920, 18), (3, 4, 1)])
def test_tolerance_follows_the_diagonal(height, width, radius):
    assert boundary_radius(height, width) == radius == math.ceil(0.008 * math.hypot(height, width))


def test_disk_contains_offsets_within_its_radius():
    for radius in range(1, 10):
        inside = {
            (y, x) for y in range(-radius, radius + 1) for x in range(-radius, radius + 1) if y * y + x * x <= radius**2
        }
        assert {(y - radius, x - radius) for y, x in np.argwhere(disk(radius)).tolist()} == inside


@settings(max_examples=200)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=140))
def test_statistics_are_bit_identical_to_the_reference(values):
    array = np.array(values)
    assert (float(np.mean(array)), recall(array), decay(array)) == twin.statistics(values)


def test_decay_and_recall_by_hand():
    falling = np.linspace(1, 0, 8)  # quarters of 8 frames are [0:3], [2:4], [3:6], [5:8]: ends 1, 2.75, 4.5, 6.25, 8
    assert decay(falling) == falling[0:3].mean() - falling[5:8].mean() > 0
    assert recall(np.array([0.5, 0.500001, 1.0, 0.0])) == 0.5  # strictly above 0.5
    assert decay(np.array([0.3])) == 0.0


def test_decay_of_more_than_256_frames_uses_the_last_quarter():
    values = np.concatenate([np.ones(300), np.zeros(100)])
    assert decay(values) == 1 - 1 / 101  # 8-bit indices would wrap around


@settings(max_examples=80)
@given(masks(number=1, labels=255))
def test_labels_of_a_mask(mask):
    assert ids_in(mask[0]) == tuple(label for label in np.unique(mask[0]).tolist() if label)
