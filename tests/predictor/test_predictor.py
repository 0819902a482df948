"""`Segmenter` with real frames and a small network."""

import threading

import numpy as np
import pytest
import torch
from PIL import Image

from xmem_infer import DataConfig, MemoryConfig, RuntimeConfig, Segmenter, UsageError, VideoError
from xmem_infer.config import GradMode, Precision
from xmem_infer.model.network import XMem

FP32 = RuntimeConfig(precision=Precision.fp32)
GRADIENTS_OFF = (GradMode.set_grad_enabled, GradMode.no_grad, GradMode.inference_mode)


def segmenter(network, **changes):
    options = {"memory": MemoryConfig(memory_every=2), "runtime": FP32, "data": DataConfig(size=-1)}
    return Segmenter(network, **{**options, **changes})


@pytest.fixture
def clip(make_clip):
    return make_clip(7, 48, 70, 2, seed=3)


def test_the_shortest_program(tiny_weights, clip):
    images, masks = clip
    segmenter = Segmenter.from_weights(tiny_weights)
    for result in segmenter.segment(images, mask=masks[0]):
        assert result.mask.shape == (48, 70)


def test_results(tiny_network, clip):
    images, masks = clip
    mask = np.choose(masks[0], [0, 9, 255]).astype(np.uint8)
    results = list(segmenter(tiny_network).segment(images, mask))
    assert [result.frame.index for result in results] == list(range(7))
    np.testing.assert_array_equal(results[0].mask, mask)
    for result in results:
        assert result.object_ids == (9, 255)
        assert set(np.unique(result.mask)) <= {0, 9, 255}
        prob = result.probabilities()
        assert prob.shape == (3, 48, 70)
        np.testing.assert_allclose(prob.sum(0), 1, atol=1e-5)
        for slot, label in enumerate((9, 255), start=1):
            inside, found = result.mask == label, result.confidence[label]
            assert found.area_px == inside.sum()
            assert found.lost == (not inside.any())
            expected = prob[slot][inside].mean() if inside.any() else 0
            assert found.mean_probability == pytest.approx(expected, abs=1e-4)
    np.testing.assert_array_equal(results[3].mask, np.array([0, 9, 255])[prob_argmax(results[3])])


def prob_argmax(result):
    return result.probabilities().argmax(0)


@pytest.mark.parametrize("size", [-1, 32, 64])
def test_masks_have_the_size_of_the_frames(tiny_network, clip, size):
    images, masks = clip
    results = list(segmenter(tiny_network, data=DataConfig(size=size)).segment(images, masks[0]))
    assert {result.mask.shape for result in results} == {(48, 70)}
    np.testing.assert_array_equal(results[0].mask, masks[0])


def test_later_masks_add_and_correct(tiny_network, clip):
    images, masks = clip
    late = np.where(masks[2] == 2, 2, 0).astype(np.uint8)
    first = np.where(masks[0] == 1, 1, 0).astype(np.uint8)
    names = [result.frame.name for result in segmenter(tiny_network).segment(images, masks[0])]
    results = list(segmenter(tiny_network).segment(images, first, {names[2]: late, names[5]: masks[5]}))
    assert [result.object_ids for result in results] == [(1,)] * 2 + [(1, 2)] * 5
    assert (results[2].mask[late == 2] == 2).all()
    np.testing.assert_array_equal(results[5].mask, masks[5])


def test_an_unpainted_object_is_kept_unless_the_mask_is_complete(tiny_network, clip):
    images, masks = clip
    second = np.where(masks[3] == 2, 2, 0).astype(np.uint8)
    made = segmenter(tiny_network, data=DataConfig(size=-1))
    partial, whole, named = (
        list(made.segment(images, masks[0], {3: second}, complete=complete))[3] for complete in (False, True, ["00003"])
    )
    assert (partial.mask[second == 2] == 2).all()
    assert partial.probabilities()[1][second != 2].min() > 0.1
    assert whole.probabilities()[1].max() < 1e-3
    np.testing.assert_array_equal(whole.mask, second)
    np.testing.assert_array_equal(named.mask, second)


def test_later_masks_are_assigned_by_name_or_index(tiny_network, clip):
    images, masks = clip
    made = segmenter(tiny_network)
    runs = [[result.mask for result in made.segment(images, masks[0], {key: masks[4]})] for key in (4, "00004", "4")]
    for other in runs[1:]:
        np.testing.assert_array_equal(runs[0], other)
    np.testing.assert_array_equal(runs[0][4], masks[4])


@pytest.mark.parametrize("key", ["zzz", 7, -1, 1.0, True, None, ("00001",), "00000", 0])
def test_later_masks_without_a_frame_are_refused_at_the_call(tiny_network, clip, key):
    images, masks = clip
    with pytest.raises(UsageError, match="later_masks has"):
        segmenter(tiny_network).segment(images, masks[0], {key: masks[1]})


def test_frames_of_a_folder_are_named_like_its_files(tiny_network, clip, tmp_path):
    images, masks = clip
    for number, image in enumerate(images):
        Image.fromarray(image).save(tmp_path / f"shot{number}.png")
    made = segmenter(tiny_network)
    by_name, by_index = (
        [result.mask for result in made.segment(tmp_path, masks[0], {key: masks[2]})] for key in ("shot2", 2)
    )
    np.testing.assert_array_equal(by_name, by_index)
    np.testing.assert_array_equal(by_name[2], masks[2])
    with pytest.raises(UsageError, match="twice"):
        made.segment(tmp_path, masks[0], {2: masks[2], "shot2": masks[2]})
    with pytest.raises(UsageError, match="permanent has '00002', no frame"):
        made.segment(tmp_path, masks[0], permanent=["00002"])


def test_an_iterable_that_ends_before_a_later_mask_is_an_error(tiny_network, clip):
    images, masks = clip
    made = segmenter(tiny_network).segment(iter(images), masks[0], {7: masks[1]})
    for _ in images:
        next(made)
    with pytest.raises(UsageError, match="ended before frames that were named for masks: 00007"):
        next(made)


@pytest.mark.parametrize("variant", ["eager", "fast"])
def test_grad_modes_give_the_same_masks(tiny_network, clip, variant):
    """Bit-identical, except for the modes that record a graph: they multiply with another library."""
    images, masks = clip
    runs = {}
    for mode in GradMode if variant == "eager" else GRADIENTS_OFF:
        runtime = RuntimeConfig(precision=Precision.fp32, grad_mode=mode, variant=variant)
        results = list(segmenter(tiny_network, runtime=runtime).segment(images, masks[0]))
        runs[mode] = np.stack([result.probabilities() for result in results])
    for mode, prob in runs.items():
        expected = runs[GradMode.set_grad_enabled]
        assert np.array_equal(prob, expected) if mode in GRADIENTS_OFF else np.allclose(prob, expected, atol=1e-6), mode


@pytest.mark.parametrize("mode", list(GradMode))
def test_a_graph_is_recorded_with_gradients_on_and_never_without(tiny_network, clip, mode, monkeypatch):
    images, masks = clip
    recorded, carried = [], []
    made = segmenter(tiny_network, runtime=RuntimeConfig(precision=Precision.fp32, grad_mode=mode))
    step = made.engine.step

    def watched(state, *args, **options):
        carried.append(state.objects is not None and state.objects["sensory"].requires_grad)
        prob = step(state, *args, **options)
        recorded.append(prob.grad_fn is not None)
        return prob

    monkeypatch.setattr(made.engine, "step", watched)
    list(made.segment(images, masks[0]))
    on = mode in (GradMode.enable_grad, GradMode.enable_grad_detached)
    assert recorded[1:] == [on] * 6
    # With enable_grad the graph spans frames; with enable_grad_detached it ends with each frame.
    assert any(carried) == (mode is GradMode.enable_grad)


@pytest.mark.parametrize("mode", list(GradMode))
def test_a_training_loop_around_the_generator_is_unaffected(tiny_network, clip, mode):
    images, masks = clip
    weight = torch.ones(3, requires_grad=True)
    runtime = RuntimeConfig(precision=Precision.bf16, grad_mode=mode, threads=1)
    for _ in segmenter(tiny_network, runtime=runtime).segment(images[:4], masks[0]):
        assert torch.is_grad_enabled()
        assert not torch.is_inference_mode_enabled()
        assert not torch.is_autocast_enabled("cpu")
        weight.grad = None
        (weight * 2).sum().backward()
        assert weight.grad.tolist() == [2, 2, 2]
    with torch.no_grad():
        for _ in segmenter(tiny_network, runtime=runtime).segment(images[:2], masks[0]):
            assert not torch.is_grad_enabled()


def test_leaving_early_stops_the_reader(tiny_network):
    decoded = []

    def endless():
        while True:
            decoded.append(1)
            yield np.zeros((32, 32, 3), np.uint8)

    mask = np.ones((32, 32), np.uint8)
    results = segmenter(tiny_network).segment(endless(), mask)
    for _ in range(3):
        next(results)
    results.close()
    assert len(decoded) < 20  # bounded read-ahead
    assert not [thread for thread in threading.enumerate() if thread.name == "read ahead"]


@pytest.mark.fault("iterator of frames raises an exception", "the earlier results are returned, then the exception")
def test_an_error_in_the_source_is_raised_after_earlier_results(tiny_network):
    def source():
        yield np.zeros((32, 32, 3), np.uint8)
        yield np.zeros((32, 32, 3), np.uint8)
        raise VideoError("frame 2 is torn")

    results = segmenter(tiny_network).segment(source(), np.ones((32, 32), np.uint8))
    assert next(results).frame.index == 0
    assert next(results).frame.index == 1
    with pytest.raises(VideoError, match="torn"):
        next(results)


@pytest.mark.fault("mask of the wrong size or type in Python", "error from the call itself, before iteration")
def test_bad_masks_are_refused_at_the_call(tiny_network, clip):
    images, masks = clip
    with pytest.raises(UsageError, match=r"48.*70|70.*48"):
        segmenter(tiny_network).segment(images, masks[0][:40])
    with pytest.raises(UsageError):
        segmenter(tiny_network).segment(images, masks[0] / 2.5)


@pytest.mark.fault("non-finite probabilities", "error names frame and precision; no empty mask is returned")
def test_overflow_is_an_error_that_names_frame_and_precision(tiny_network, clip):
    images, masks = clip
    broken = XMem(tiny_network.sizes)
    broken.load_state_dict(tiny_network.state_dict())
    with torch.no_grad():
        broken.decoder.prediction.weight.fill_(3e38)
    with pytest.raises(VideoError, match=r"frame .*1.*non-finite.*fp32"):
        list(segmenter(broken).segment(images, masks[0]))


@pytest.mark.parametrize("precision", [Precision.fp32, Precision.bf16])
@pytest.mark.fault("NaN in the network's weights", "error names the weight")
def test_weights_that_are_not_finite_are_refused(tiny_network, precision):
    broken = XMem(tiny_network.sizes)
    broken.load_state_dict(tiny_network.state_dict())
    with torch.no_grad():
        broken.key_encoder.trunk.layer1[0].conv1.weight[0, 0, 0, 0] = torch.nan
    with pytest.raises(UsageError, match=r"layer1.0.conv1.weight holds NaN"):
        segmenter(broken, runtime=RuntimeConfig(precision=precision))


def test_interleaved_videos_keep_thread_counts(tiny_network, clip):
    images, masks = clip
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        one = segmenter(tiny_network, runtime=RuntimeConfig(precision=Precision.fp32, threads=1))
        first, second = one.segment(images, masks[0]), one.segment(images, masks[0])
        for _ in range(2):
            next(first), next(second)
            assert torch.get_num_threads() == 2
        first.close()
        assert len(list(second)) == 5
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


def test_a_segmenter_does_not_change_the_random_state(tiny_network):
    state = torch.get_rng_state()
    segmenter(tiny_network, runtime=RuntimeConfig(precision=Precision.bf16))
    assert torch.equal(torch.get_rng_state(), state)


def test_an_empty_first_mask_gives_empty_masks(tiny_network, clip):
    images, masks = clip
    results = list(segmenter(tiny_network).segment(images, np.zeros_like(masks[0])))
    assert len(results) == 7
    assert not any(result.mask.any() for result in results)


def test_one_frame(tiny_network, clip):
    images, masks = clip
    (result,) = segmenter(tiny_network).segment(images[:1], masks[0])
    np.testing.assert_array_equal(result.mask, masks[0])
