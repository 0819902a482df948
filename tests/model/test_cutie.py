"""Cutie in the engine and in the Python API; `tests/parity` compares its numbers with the published code."""

from pathlib import Path

import numpy as np
import pytest
import torch

from xmem_infer.config import LateObjects, MemoryConfig, Precision
from xmem_infer.engine.engine import Engine
from xmem_infer.errors import UsageError
from xmem_infer.model.cutie.network import LAST_MASK, SUMMARIES
from xmem_infer.predictor import Segmenter
from xmem_infer.runtime.backends.prepare import prepare
from xmem_infer.weights.build import build_network, load_network

SMALL = MemoryConfig(memory_every=2, min_working_frames=2, max_working_frames=4, num_prototypes=4, top_k=8)
SMALL.max_long_term_tokens, SMALL.buffer_tokens = 20, 4


@pytest.fixture
def engine(tiny_cutie):
    return Engine(prepare(tiny_cutie, torch.device("cpu")).network, SMALL)


@pytest.fixture(autouse=True)
def _without_gradients():
    with torch.no_grad():
        yield


def label(**boxes):
    """A label image with a box of columns for each object: label(o1=(0, 16))."""
    mask = torch.zeros(48, 64, dtype=torch.uint8)
    for name, (start, stop) in boxes.items():
        mask[8:40, start:stop] = int(name[1:])
    return mask


def picture(seed):
    return torch.randn(3, 48, 64, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("variant", ["base", "small"])
def test_published_files_are_recognised_by_their_contents(variant, cutie_state, tmp_path):
    state = cutie_state(variant=variant, single_object=variant == "small")
    torch.save({"weights": state, "optimizer": {}}, tmp_path / "anything.pth")
    network = load_network(tmp_path / "anything.pth").network
    assert network.sizes.pixel_trunk.bottleneck is (variant == "base")
    assert network.sizes.queries == 16
    own = network.state_dict()
    assert len(own) == len(build_network(own, Path("own")).state_dict())
    if variant == "small":  # trained on single objects: no input from other objects
        assert not own["mask_encoder.trunk.conv1.weight"][:, 4].any()
        assert not own["pixel_fuser.compress.weight"][:, 257].any()


def test_objects_are_added_corrected_and_removed(engine):
    state = engine.start()
    engine.step(state, picture(0), label(o5=(0, 20), o9=(30, 50)))
    engine.step(state, picture(1), label(o3=(52, 64)))
    assert [store.objects for store in state.memory.stores] == [2, 1]
    before = state.objects[SUMMARIES].clone()
    prob = engine.step(state, picture(2), label(o5=(0, 10), o9=(30, 40), o3=(50, 64)))
    assert torch.equal(prob.argmax(0) > 0, label(o1=(0, 10), o2=(30, 40), o3=(50, 64)) > 0)
    assert (state.objects[SUMMARIES][..., -1] > before[..., -1]).any()
    kept = state.objects[LAST_MASK][:, 1:].clone()
    engine.remove(state, 5)
    assert state.object_ids == [9, 3]
    assert torch.equal(state.objects[LAST_MASK], kept)
    engine.remove(state, 3)  # the last object of its bucket
    assert len(state.memory.buckets) == 1
    assert engine.step(state, picture(3)).shape == (2, 48, 64)
    engine.step(state, picture(4), label(o5=(0, 20)))  # an object that is given again starts without memory
    fresh = engine.start()
    engine.step(fresh, picture(4), label(o5=(0, 20)))
    sums = state.objects[SUMMARIES][0, 1, :, -1].sum(), fresh.objects[SUMMARIES][0, 0, :, -1].sum()
    assert sums[0] < 1.5 * sums[1]


@pytest.mark.parametrize("long_term", [True, False])
def test_memory_is_flat_and_permanent_frames_stay(engine, long_term):
    engine.config.long_term = long_term
    state, sizes = engine.start(), []
    for t in range(120):
        mask = {0: label(o1=(0, 20)), 7: label(o2=(30, 50))}.get(t)
        engine.step(state, picture(t), mask, permanent=t == 11)
        sizes.append([(b.store.working.capacity, b.store.long_term.size) for b in state.memory.buckets])
    first, late = state.memory.buckets
    # The first frame of a bucket and the one asked for; of the others at most what the settings say.
    assert (sum(first.permanent), sum(late.permanent)) == (2, 2)
    assert [working for working, _ in sizes[-1]] == [working for working, _ in sizes[40]]
    assert all(found <= 20 for _, found in sizes[-1])
    assert bool(sizes[-1][0][1]) is long_term
    others = len(first.permanent) - 2
    assert others <= (SMALL.max_working_frames - 2 if long_term else engine.config.fifo_frames - 1)


def test_ten_objects_in_chunks_give_the_same_result(tiny_cutie):
    found = []
    for at_once in (3, 16):
        network = prepare(tiny_cutie, torch.device("cpu"), objects_at_once=at_once).network
        engine = Engine(network, SMALL)
        state = engine.start()
        engine.step(state, picture(0), label(**{f"o{n + 1}": (6 * n, 6 * n + 4) for n in range(10)}))
        found.append([engine.step(state, picture(t)) for t in range(1, 4)])
    for turns, together in zip(*found, strict=True):
        torch.testing.assert_close(turns, together, atol=1e-5, rtol=0)


def test_half_precision_runs_and_keeps_the_positions(tiny_cutie):
    network = prepare(tiny_cutie, torch.device("cpu"), Precision.bf16, "fast").network
    assert torch.equal(network.object_transformer.positions.inv_freq, tiny_cutie.object_transformer.positions.inv_freq)
    engine = Engine(network, SMALL)
    state = engine.start()
    engine.step(state, picture(0), label(o1=(0, 20)))
    assert engine.step(state, picture(1)).isfinite().all()
    assert {x.dtype for x in state.objects.values()} == {torch.float32}


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"late_objects": LateObjects.published}, r"late_objects=published"),
        ({"max_long_term_tokens": 1000}, r"max_long_term_tokens=1000.*\(2128\)"),
    ],
)
def test_unsupported_memory_settings_are_refused(tiny_cutie, settings, message):
    engine = Engine(prepare(tiny_cutie, torch.device("cpu")).network, MemoryConfig(**settings))
    with pytest.raises(UsageError, match=message):
        engine.step(engine.start(), picture(0), label(o1=(0, 20)))


def test_segmenting_a_video_with_the_python_api(tiny_cutie, make_clip):
    segmenter = Segmenter(tiny_cutie)
    assert (segmenter.data.antialias, segmenter.engine.config.kind) == (True, "per_bucket")
    images, masks = make_clip(4, 40, 72, 2, 0)  # smaller than data.size: not made larger
    results = list(segmenter.segment(images, masks[0]))
    assert np.array_equal(results[0].mask, masks[0])
    assert results[-1].mask.shape == (40, 72)
    state = segmenter.start()
    segmenter.predict(state, results[0].frame)
    assert state.frame_size == (40, 72)
