"""Runs restore the caller's gradient mode however they end, and keep no autograd graph alive."""

import copy
import gc

import pytest
import torch

from xmem_infer import LabelMask, MemoryConfig, RuntimeConfig, Segmenter, UsageError, VideoError
from xmem_infer.config import DataConfig, GradMode, Precision
from xmem_infer.io.array_frames import ArrayFrames
from xmem_infer.lab.ablation.tensor_bytes import TensorBytes
from xmem_infer.model.network import XMem


@pytest.fixture
def segmenter(tiny_network):
    own = copy.deepcopy(tiny_network)  # a Segmenter changes the memory layout of its network

    def build(mode, network=own):
        runtime = RuntimeConfig(precision=Precision.fp32, grad_mode=mode, variant="eager")
        return Segmenter(network, MemoryConfig(memory_every=2), runtime, DataConfig(size=-1))

    return build


@pytest.fixture
def clip(make_clip):
    return make_clip(6, 48, 64, 2, seed=0)


@pytest.mark.parametrize("before", [True, False])
@pytest.mark.parametrize("mode", list(GradMode))
def test_a_failing_run_restores_the_mode(tiny_network, segmenter, clip, mode, before):
    images, masks = clip
    broken = XMem(tiny_network.sizes)
    broken.load_state_dict(tiny_network.state_dict())
    with torch.no_grad():
        broken.decoder.prediction.bias.fill_(torch.inf)
    with torch.set_grad_enabled(before):
        with pytest.raises(VideoError):
            list(segmenter(mode, broken).segment(images, masks[0]))
        assert torch.is_grad_enabled() is before
        assert not torch.is_inference_mode_enabled()


@pytest.mark.parametrize("mode", list(GradMode))
def test_closing_early_restores_the_mode(segmenter, clip, mode):
    images, masks = clip
    results = segmenter(mode).segment(images, masks[0])
    next(results)
    results.close()
    assert torch.is_grad_enabled()
    assert not torch.is_inference_mode_enabled()


@pytest.mark.fault("`Engine.restart` of a state with an autograd graph", "error says to call `state.detach()`")
def test_a_state_with_a_graph_is_restarted_once_it_is_detached(segmenter, clip):
    images, masks = clip
    made = segmenter(GradMode.enable_grad)
    state = made.start()
    for frame in list(ArrayFrames(list(images)))[:2]:
        with made.running(frame.name):
            made.predict(state, frame, LabelMask(masks[0]) if frame.index == 0 else None)
    with pytest.raises(UsageError, match=r"carries an autograd graph .*call state.detach\(\)"):
        made.engine.restart(state)
    state.detach()
    assert made.engine.restart(state).object_ids == [1, 2]


@pytest.mark.parametrize("mode", list(GradMode))
def test_no_autograd_graph_outlives_the_run(segmenter, clip, mode):
    """Writing a value into a tensor that was read earlier makes a reference cycle that no collector finds."""
    images, masks = clip
    made, counter = segmenter(mode), TensorBytes(torch.device("cpu"))
    gc.collect()  # tensors of earlier tests must not be freed while this one counts
    with counter.counting():
        for _ in made.segment(images, masks[0]):
            pass
        del _
        gc.collect()
    assert counter.peak > 100_000
    assert counter.held == 0
