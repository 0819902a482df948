"""Tracking from references forward, backward and in both directions, compared with simple implementations."""

import random
import signal
import weakref
from pathlib import Path

import numpy as np
import pytest
import torch

from xmem_infer import DataConfig, LabelMask, MemoryConfig, RuntimeConfig, Segmenter, UsageError, interrupts, propagate
from xmem_infer.config import GradMode, Precision
from xmem_infer.engine.state import absent_ids
from xmem_infer.io.array_frames import ArrayFrames
from xmem_infer.io.frames import open_frames
from xmem_infer.io.masks import read_mask
from xmem_infer.propagation.encoded_references import EncodedReferences
from xmem_infer.propagation.propagate import remember
from xmem_infer.scoring.metrics import METRICS
from xmem_infer.weights.manifest import embedded_model

FP32 = RuntimeConfig(precision=Precision.fp32)


@pytest.fixture(params=["xmem", "cutie"])
def segmenter(request, tiny_network, tiny_cutie):
    network = tiny_network if request.param == "xmem" else tiny_cutie
    return Segmenter(network, MemoryConfig(memory_every=2), FP32, DataConfig(size=-1))


@pytest.fixture(scope="module")
def clip(make_clip):
    images, masks = make_clip(9, 48, 64, 2, seed=3)
    return list(images), [LabelMask(mask) for mask in masks]


def by_index(results):
    return {result.frame.index: (result.mask, result.probabilities()) for result in results}


def assert_equal(found, expected):
    assert list(found) == list(expected)
    for index, (mask, prob) in expected.items():
        np.testing.assert_array_equal(found[index][0], mask)
        np.testing.assert_array_equal(found[index][1], prob)


def test_forward_from_the_first_frame_equals_a_plain_run(segmenter, clip):
    images, masks = clip
    plain = by_index(segmenter.segment(images, masks[0]))
    found = by_index(propagate(segmenter, ArrayFrames(images), {0: masks[0]}, direction="forward"))
    assert_equal(found, plain)


def test_backward_equals_forward_on_the_reversed_video(segmenter, clip):
    images, masks = clip
    given = {2: masks[2], 6: masks[6]}
    found = by_index(propagate(segmenter, ArrayFrames(images), given, direction="backward"))
    mirrored = {8 - index: mask for index, mask in given.items()}
    twin = by_index(propagate(segmenter, ArrayFrames(images[::-1]), mirrored, direction="forward"))
    assert_equal(found, {8 - index: result for index, result in twin.items()})
    assert list(found) == list(range(6, -1, -1))


@pytest.mark.parametrize("direction", ["forward", "backward"])
def test_a_range_between_references_equals_the_whole_run(segmenter, clip, direction):
    images, masks = clip
    given = {0: masks[0], 4: masks[4], 8: masks[8]}
    whole = by_index(propagate(segmenter, ArrayFrames(images), given, direction=direction))
    part = by_index(propagate(segmenter, ArrayFrames(images), given, direction=direction, first=5, last=7))
    assert_equal(part, {index: result for index, result in whole.items() if 5 <= index <= 7})


@pytest.mark.parametrize("mode", list(GradMode))
def test_every_grad_mode(tiny_network, clip, mode):
    images, masks = clip
    runtime = RuntimeConfig(precision=Precision.fp32, grad_mode=mode)
    segmenter = Segmenter(tiny_network, MemoryConfig(memory_every=2), runtime, DataConfig(size=-1))
    results = propagate(segmenter, ArrayFrames(images), {0: masks[0], 4: masks[4]}, direction="forward")
    assert [result.frame.index for result in results] == list(range(9))
    assert torch.is_grad_enabled()


def blended_by_definition(forward, backward, weight):
    """Blend the probabilities (O + 1, H, W) of two passes, the second in 8 bits as in the temporary file."""
    coarse = np.rint(backward[1:] * 255).astype(np.float32) / 255
    objects = forward[1:] * (1 - weight) + coarse * weight
    mixed = np.concatenate([np.clip(1 - objects.sum(0, keepdims=True), 0, None), objects])
    return mixed / mixed.sum(0)


def test_both_directions_is_a_blend_of_two_passes(segmenter, clip):
    images, masks = clip
    frames, given = ArrayFrames(images), {2: masks[2], 6: masks[6]}
    results = list(propagate(segmenter, frames, given))
    assert [result.frame.index for result in results] == [1, 0, 2, 3, 4, 5, 6, 7, 8]
    found = by_index(results)
    forward, backward = (
        by_index(propagate(segmenter, frames, given, direction=way)) for way in ("forward", "backward")
    )
    assert_equal({index: found[index] for index in (6, 7, 8)}, {index: forward[index] for index in (6, 7, 8)})
    assert_equal({index: found[index] for index in (1, 0)}, {index: backward[index] for index in (1, 0)})
    np.testing.assert_array_equal(found[2][0], masks[2].ids)
    for index in (3, 4, 5):
        expected = blended_by_definition(forward[index][1], backward[index][1], (index - 2) / 4)
        np.testing.assert_allclose(found[index][1], expected, atol=1e-6)
        np.testing.assert_array_equal(found[index][0], np.array([0, 1, 2])[expected.argmax(0)])


def test_an_object_with_one_reference_uses_the_pass_from_it(segmenter, clip):
    images, masks = clip
    frames, shown = ArrayFrames(images), {0: 1, 6: 2}
    only = {i: LabelMask(np.where(masks[i].ids == one, one, 0).astype(np.uint8)) for i, one in shown.items()}
    found = {r.frame.index: r for r in propagate(segmenter, frames, only)}
    forward = by_index(propagate(segmenter, frames, only, direction="forward"))
    backward = by_index(propagate(segmenter, frames, only, direction="backward"))
    assert sorted(found) == list(range(9))
    for index in range(6):
        assert found[index].object_ids == (1, 2)
        first, second = forward[index][1][1], np.rint(backward[index][1][1] * 255) / 255
        expected = np.stack([np.clip(1 - first - second, 0, None), first, second])
        np.testing.assert_allclose(found[index].probabilities(), expected / expected.sum(0), atol=1e-6)


def test_provisional_results_precede_final_results(tiny_network, clip):
    images, masks = clip
    segmenter = Segmenter(tiny_network, MemoryConfig(memory_every=2), FP32, DataConfig(size=-1))
    given = {0: masks[0], 4: masks[4]}
    final = by_index(propagate(segmenter, ArrayFrames(images), given))
    results = list(propagate(segmenter, ArrayFrames(images), given, provisional=True))
    assert [result.frame.index for result in results] == [3, 2, 1, 0, 1, 2, 3, 4, 5, 6, 7, 8]
    assert_equal(by_index(results[3:]), final)


def test_a_range_in_both_directions_equals_the_whole_run(segmenter, clip):
    images, masks = clip
    given = {0: masks[0], 4: masks[4], 7: masks[7]}
    whole = by_index(propagate(segmenter, ArrayFrames(images), given))
    for first, last in ((1, 3), (2, 5), (6, 8), (4, 4)):
        part = by_index(propagate(segmenter, ArrayFrames(images), given, first=first, last=last))
        assert_equal(part, {index: result for index, result in whole.items() if first <= index <= last})


def squares(*object_ids):
    ids = np.zeros((48, 64), np.uint8)
    for one in object_ids:
        ids[16:40, 20 * one - 16 : 20 * one] = one
    return LabelMask(ids)


def test_a_reference_may_add_an_object_and_omit_another(segmenter, clip):
    given = {0: squares(1), 3: squares(2), 6: squares(1, 3)}
    for direction in ("forward", "both"):
        results = propagate(segmenter, ArrayFrames(clip[0]), given, direction=direction)
        found = {result.frame.index: result.object_ids for result in results}
        assert sorted(found) == list(range(9)) and found[8] == (1, 2, 3)


@pytest.mark.parametrize("seed", range(8))
def test_any_references_give_results_for_every_frame(segmenter, clip, seed):
    chance, frames = random.Random(seed), ArrayFrames(clip[0])
    shown = {index: chance.sample((1, 2, 3), chance.randrange(4)) for index in chance.sample(range(9), 5)}
    shown[chance.choice([*shown])] = [1]
    absent = {one: [(first, first + 2)] for one in (2, 3) if (first := chance.randrange(12)) < 8}
    gone = {index: absent_ids(absent, index) for index in shown}
    given = {index: squares(*(one for one in ids if one not in gone[index])) for index, ids in shown.items()}
    object_ids = {one for mask in given.values() for one in mask.object_ids()}
    reached = {"forward": range(min(given), 9), "backward": range(max(given) + 1), "both": range(9)}
    for direction, indices in reached.items():
        results = list(propagate(segmenter, frames, given, direction=direction, absent=absent))
        assert sorted(result.frame.index for result in results) == list(indices)
        assert object_ids <= set(results[-1].object_ids) or direction == "both"
    assert object_ids <= set(remember(segmenter, frames, given, absent).object_ids)


def test_a_reference_may_be_empty_while_autograd_records(tiny_network, clip):
    runtime = RuntimeConfig(precision=Precision.fp32, grad_mode=GradMode.enable_grad)
    segmenter = Segmenter(tiny_network, MemoryConfig(), runtime, DataConfig(size=-1))
    results = list(propagate(segmenter, ArrayFrames(clip[0][:4]), {0: squares(), 2: squares(1)}, direction="forward"))
    assert [result.object_ids for result in results] == [(), (), (1,), (1,)]


def test_cached_encodings_do_not_change_results(segmenter, clip, monkeypatch):
    images, masks = clip
    frames, encoded = ArrayFrames(images), EncodedReferences()
    other = LabelMask(np.roll(masks[4].ids, 5, 1))
    second = LabelMask(np.where(masks[6].ids == 2, 2, 0).astype(np.uint8))
    calls = [
        ({0: masks[0]}, {}),
        ({0: masks[0], 4: masks[4]}, {}),
        ({0: masks[0], 4: other}, {}),
        ({0: masks[0], 4: other, 6: second}, {}),
        ({0: masks[0], 4: other, 6: second}, {1: [(6, 6)]}),
        ({4: other, 8: masks[8]}, {1: [(5, 6)]}),
        ({0: masks[0], 4: masks[4]}, {}),
    ]
    for references, absent in calls:
        anew, known = (
            list(propagate(segmenter, frames, references, absent=absent, encoded=kept)) for kept in (None, encoded)
        )
        assert_equal(by_index(known), by_index(anew))
        assert [result.confidence for result in known] == [result.confidence for result in anew]
    pictures, encode = [], segmenter.engine.network.encode_image
    monkeypatch.setattr(segmenter.engine.network, "encode_image", lambda x: pictures.append(x) or encode(x))
    list(propagate(segmenter, frames, references, absent=absent, direction="forward", last=1, encoded=encoded))
    assert len(pictures) == 1, "the references must already be encoded"


def test_absent_objects_are_empty_and_reappear(segmenter, clip):
    images, masks = clip
    absent = {2: [(3, 4), (6, 6)]}
    for direction in ("forward", "both"):
        found = propagate(segmenter, ArrayFrames(images), {0: masks[0]}, direction=direction, absent=absent)
        for result in found:
            prob = result.probabilities()
            np.testing.assert_allclose(prob.sum(0), 1, atol=1e-5)
            if result.frame.index in (3, 4, 6):
                assert result.confidence[2].area_px == 0 and not result.confidence[2].drift
                assert not prob[2].any()
            else:
                assert prob[2].max() > 0


def test_a_reference_annotates_objects_that_are_absent_on_it(segmenter, clip):
    images, masks = clip
    given = {0: masks[0], 4: LabelMask(np.where(masks[4].ids == 1, 1, 0).astype(np.uint8))}
    open_, told = (
        {r.frame.index: r for r in propagate(segmenter, ArrayFrames(images), given, absent=absent)}
        for absent in ({}, {2: [(4, 4)]})
    )
    assert not open_[4].given and told[4].given
    np.testing.assert_array_equal(told[4].mask, given[4].ids)


def test_references_stay_in_memory(segmenter, clip):
    images, masks = clip
    looped = [images[index % 9] for index in range(40)]
    given = {0: masks[0], 1: masks[1], 2: masks[2], 3: masks[3]}
    small = MemoryConfig(memory_every=1, min_working_frames=1, max_working_frames=2, num_prototypes=8)
    segmenter.engine.config = MemoryConfig(**{**vars(small), "kind": segmenter.engine.config.kind})
    seen = []
    original, engine = segmenter.engine.step, segmenter.engine

    def step(state, *args, **options):
        prob = original(state, *args, **options)
        seen.append(state.memory.working_tokens // (3 * 4))
        return prob

    engine.step = step
    try:
        list(propagate(segmenter, ArrayFrames(looped), given, direction="forward"))
    finally:
        del engine.step
    assert min(seen[4:]) >= 4 and max(seen) <= 4 + 3


def test_a_signal_stops_a_pass_whose_results_are_kept(tiny_network, clip, monkeypatch):
    images, masks = clip
    segmenter = Segmenter(tiny_network, MemoryConfig(memory_every=2), FP32, DataConfig(size=-1))
    frames, asked = CountedFrames(images), []
    results = propagate(segmenter, frames, {0: masks[0], 8: masks[8]})
    monkeypatch.setattr(interrupts, "_pending", [signal.SIGINT])
    with pytest.raises(KeyboardInterrupt):
        asked.extend(results)
    assert not asked


class CountedFrames(ArrayFrames):
    """Frames that count how many of their images are still referenced."""

    def __init__(self, images):
        super().__init__(images)
        self.alive, self.most = set(), 0

    def __getitem__(self, index):
        frame = super().__getitem__(index)
        self.alive.add(id(frame))
        weakref.finalize(frame, self.alive.discard, id(frame))
        self.most = max(self.most, len(self.alive))
        return frame


def test_both_directions_holds_a_bounded_number_of_frames(tiny_network, clip):
    images, masks = clip
    segmenter = Segmenter(tiny_network, MemoryConfig(memory_every=2), FP32, DataConfig(size=-1))
    most = []
    for length in (20, 40):
        frames = CountedFrames([images[index % 9] for index in range(length)])
        for _ in propagate(segmenter, frames, {0: masks[0], length - 1: masks[(length - 1) % 9]}):
            pass
        most.append(frames.most)
    assert max(most) <= 10


def test_closing_stops_after_the_frame_in_progress(segmenter, clip):
    images, masks = clip
    results = propagate(segmenter, ArrayFrames(images), {0: masks[0]}, direction="forward")
    assert [next(results).frame.index for _ in range(2)] == [0, 1]
    results.close()
    assert list(results) == []


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"references": {}}, "no reference"),
        ({"references": {9: 0}}, "reference 9 is no frame of array, whose frames are 0 to 8"),
        ({"first": 5, "last": 9}, "frames 5 to 9 are no range"),
        ({"direction": "sideways"}, "direction=sideways is not possible: it must be one of forward, backward, both"),
        ({"references": {5: 0}, "direction": "forward", "last": 4}, "no reference at or before frame 4"),
        ({"references": {5: 0}, "direction": "backward", "first": 6}, "no reference at or after frame 6"),
        ({"absent": {2: [(0, 3)]}}, "reference 0 shows object 2, which is absent there"),
        ({"references": {0: None}}, "mask .* is 32x32"),
    ],
)
def test_invalid_requests_are_refused_at_the_call(segmenter, clip, change, message):
    images, masks = clip
    options = {"references": {0: 0}, **change}
    small = LabelMask(np.ones((32, 32), np.uint8))
    given = {index: small if which is None else masks[which] for index, which in options.pop("references").items()}
    with pytest.raises(UsageError, match=message):
        propagate(segmenter, ArrayFrames(images), given, **options)


@pytest.mark.slow
def test_a_late_correction_improves_earlier_frames():
    """The embedded model on the example clip; docs/evaluation.md also reports corrections that reduce accuracy."""
    folder = Path(__file__).resolve().parents[2] / "examples" / "clip"
    segmenter = Segmenter.from_weights(embedded_model(), size=240)
    frames = open_frames(folder / "JPEGImages" / "scene", DataConfig())
    truth = {i: read_mask(folder / "Annotations" / "scene" / f"{i:05d}.png", 10**6) for i in range(48)}

    def accuracy(result):
        pairs = [[np.uint8(ids == one) for ids in (result.mask, truth[result.frame.index].ids)] for one in (1, 2)]
        return np.mean([METRICS[name](*pair, frames.size) for pair in pairs for name in ("J", "F")])

    def by_frame(references, **options):
        return {one.frame.index: accuracy(one) for one in propagate(segmenter, frames, references, **options)}

    before = by_frame({0: truth[0]}, direction="forward")
    after = by_frame({0: truth[0], 40: truth[40]}, first=1, last=39)
    assert np.mean(list(after.values())) > np.mean([before[index] for index in after])
