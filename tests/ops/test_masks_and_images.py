import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from xmem_infer.ops.images import normalise, pad, padding_for, resize, resize_labels, working_size
from xmem_infer.ops.masks import aggregate, aggregate_logits, one_hot


def aggregated_by_definition(prob):
    """Return the aggregation in float64: background = prod(1 - p), clamp, softmax of the log-odds."""
    p = torch.cat([(1 - prob).prod(0, keepdim=True), prob]).clamp(1e-7, 1 - 1e-7)
    return torch.softmax(torch.log(p / (1 - p)), 0)


@pytest.mark.parametrize("scale", [1, 5, 30])
def test_aggregation_of_logits_equals_its_float64_definition(scale):
    logits = scale * torch.randn(3, 20, 20, generator=torch.Generator().manual_seed(0))
    expected = aggregated_by_definition(logits.double().sigmoid())
    _, prob = aggregate_logits(logits, dim=0)
    torch.testing.assert_close(prob.double(), expected, atol=3e-6, rtol=0)


def test_aggregation_of_probabilities_equals_its_definition():
    prob = torch.rand(4, 8, 8, generator=torch.Generator().manual_seed(1))
    prob[:, 0] = 0
    prob[1, 1] = 1
    expected = aggregated_by_definition(prob.double())
    torch.testing.assert_close(aggregate(prob).double(), expected, atol=3e-6, rtol=0)


def test_one_object_at_certainty():
    _, prob = aggregate_logits(torch.tensor([[1e4], [-1e4]])[:1], dim=0)
    assert prob[1].item() == pytest.approx(1, abs=1e-6)
    assert torch.isfinite(aggregate_logits(torch.tensor([[-1e4]]), dim=0)[0]).all()


def test_one_hot_takes_labels_by_value():
    labels = torch.tensor([[0, 3], [255, 7]], dtype=torch.uint8)
    assert one_hot(labels, [255, 3]).tolist() == [[[0, 0], [1, 0]], [[0, 1], [0, 0]]]


def test_normalise_uses_imagenet_statistics():
    image = torch.tensor([[[255, 0, 128]]], dtype=torch.uint8)
    expected = [(1 - 0.485) / 0.229, -0.456 / 0.224, (128 / 255 - 0.406) / 0.225]
    torch.testing.assert_close(normalise(image)[:, 0, 0], torch.tensor(expected))


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        ((480, 854, 480), (480, 854)),
        ((1080, 1920, 480), (480, 853)),
        ((1920, 1080, 480), (853, 480)),
        ((100, 333, -1), (100, 333)),
        ((480, 910, 600), (600, 1137)),
    ],
)
def test_working_size(size, expected):
    assert working_size(*size) == expected


def test_resizing_labels_equals_resizing_one_channel_per_label():
    labels = torch.randint(0, 4, (37, 53), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    channels = one_hot(labels, [1, 2, 3])
    resized = torch.nn.functional.interpolate(channels[None], (24, 70), mode="nearest")[0]
    assert torch.equal(one_hot(resize_labels(labels, (24, 70)), [1, 2, 3]), resized)


def test_resize_to_the_same_size_changes_nothing():
    image = torch.rand(3, 8, 9)
    assert resize(image, (8, 9)) is image
    small, smooth = (resize(image, (4, 4), antialias) for antialias in (False, True))
    assert not torch.allclose(small, smooth)


@given(st.integers(1, 70), st.integers(1, 70))
def test_padding_to_multiples_of_16_is_reversible(height, width):
    x = torch.rand(2, height, width)
    padding = padding_for(height, width)
    padded = pad(x, padding)
    assert all(side % 16 == 0 for side in padded.shape[1:])
    assert torch.equal(padded[:, padding.top :, padding.left :][:, :height, :width], x)
    assert padding.top == math.floor((padded.shape[1] - height) / 2)
    assert padded.sum().item() == pytest.approx(x.sum().item(), rel=1e-5)
