"""What the child does, called in this process: events, exact memory by mode, equal masks."""

from collections import defaultdict

import numpy as np
import pytest
import torch
from ablation_clip import write_clip

from xmem_infer.config import DataConfig, Device, GradMode, MemoryConfig, Precision, RuntimeConfig
from xmem_infer.lab.ablation.clip import open_clip
from xmem_infer.lab.ablation.config import AblateConfig, MatrixConfig
from xmem_infer.lab.ablation.plan import Combination, Scene, Setup
from xmem_infer.lab.ablation.segmenting import segment
from xmem_infer.predictor import Segmenter
from xmem_infer.weights.build import load_network

OFF = (GradMode.set_grad_enabled, GradMode.no_grad, GradMode.inference_mode)
FRAMES = 7


@pytest.fixture
def request_for(tmp_path, make_clip, tiny_weights):
    write_clip(tmp_path / "set", make_clip)
    clip = open_clip(str(tmp_path / "set"), None, DataConfig())

    def build(mode, precision=Precision.fp32, timed=False):
        config = AblateConfig(ablate=MatrixConfig(max_memory_gb=64), memory=MemoryConfig(memory_every=2))
        setup = Setup(config, clip, tiny_weights, Device.cpu, timed)
        return setup, Combination(Scene(-1, 2, FRAMES), precision, mode)

    return build


def run(request):
    events = defaultdict(list)
    segment(*request, lambda event, **fields: events[event].append(fields))
    return events


def held(events):
    return [frame["held_bytes"] for frame in events["frame"]]


def test_masks_are_those_of_the_pipeline_and_both_passes_agree(request_for, tiny_weights):
    setup, combination = request_for(GradMode.no_grad, timed=True)
    events = run((setup, combination))
    assert [frame["of"] for frame in events["frame"]] == ["timed"] * FRAMES + ["counted"] * FRAMES
    assert [done["oom"] for done in events["pass_done"]] == [None, None]
    assert len({done["masks_sha256"] for done in events["pass_done"]}) == 1
    network = load_network(tiny_weights).network
    masks = events["masks"][0]["masks"]
    runtime, clip = RuntimeConfig(precision=Precision.fp32), setup.clip
    segmenter = Segmenter(network, setup.config.memory, runtime, DataConfig(size=-1))
    expected = [r.mask for r in segmenter.segment(clip.path, clip.first)][: FRAMES - 1]
    np.testing.assert_array_equal(masks[: FRAMES - 1], expected)
    assert all(frame["ms"] > 0 for frame in events["frame"])


@pytest.mark.parametrize("precision", [Precision.fp32, Precision.bf16])
def test_without_gradients_memory_is_flat_and_masks_are_the_same(request_for, precision):
    runs = {mode: run(request_for(mode, precision)) for mode in GradMode}
    assert len({events["pass_done"][0]["masks_sha256"] for events in runs.values()}) == 1
    for mode in OFF:
        assert len(set(held(runs[mode])[1:])) == 1
    peaks = {mode: events["pass_done"][0]["peak_tensor_bytes"] for mode, events in runs.items()}
    assert peaks[GradMode.set_grad_enabled] == peaks[GradMode.no_grad]
    if precision is Precision.fp32:
        assert peaks[GradMode.no_grad] == peaks[GradMode.inference_mode]
    else:
        # Autocast keeps the weights it has cast, except in inference mode.
        assert peaks[GradMode.no_grad] >= peaks[GradMode.inference_mode]
    assert peaks[GradMode.no_grad] < peaks[GradMode.enable_grad_detached] < peaks[GradMode.enable_grad]


def test_with_gradients_memory_grows_with_every_frame(request_for):
    steps = np.diff(held(run(request_for(GradMode.enable_grad))))
    assert (steps > 0).all()


def test_detached_memory_is_flat_between_frames(request_for):
    """The graph of a memory frame ends with it, too: tensor and graph must not keep each other alive."""
    found = held(run(request_for(GradMode.enable_grad_detached)))
    assert len(set(found[1:])) == 1


def test_figures_repeat_to_the_byte(request_for):
    runs = [run(request_for(GradMode.enable_grad_detached)) for _ in range(2)]
    assert [frame["peak_bytes"] for frame in runs[0]["frame"]] == [frame["peak_bytes"] for frame in runs[1]["frame"]]


def test_the_base_is_the_network(request_for):
    events = run(request_for(GradMode.no_grad))
    network = events["loaded"][0]["network_bytes"]
    assert network < held(events)[0] < network + 6_000_000  # the memory of this size, allocated once
    assert torch.is_grad_enabled()
