"""The baselines compute what this project computes: only then their times may be compared."""

import copy
from dataclasses import replace

import pytest
import torch

from xmem_infer.config import MemoryConfig, Precision
from xmem_infer.engine.engine import Engine
from xmem_infer.errors import UsageError
from xmem_infer.lab.benchmark.concatenated_memory import CONCATENATED, ConcatenatedMemory
from xmem_infer.lab.benchmark.interleaved import measure
from xmem_infer.lab.benchmark.scene import block_mask, drifting_frames
from xmem_infer.lab.benchmark.variants import (
    check_variants,
    default_variants,
    make_variant,
    prepare_published,
)
from xmem_infer.lab.benchmark.workloads import Workload, load_benchmark_network
from xmem_infer.memory.manager import XMemMemory
from xmem_infer.model.network import KeyFeatures
from xmem_infer.ops.images import normalise
from xmem_infer.runtime.backends.int8 import int8_toolchain
from xmem_infer.runtime.backends.openvino_cache import has_models
from xmem_infer.runtime.backends.prepare import BACKENDS, prepare

CPU = torch.device("cpu")
SHAPE = (2, 3)  # h, w
SMALL = MemoryConfig(
    min_working_frames=2, max_working_frames=4, num_prototypes=5, max_long_term_tokens=17,
    top_k=100,  # every token read by every query: usages are distinct, so that the choice of prototypes is too
)  # fmt: skip


def random_frame(generator, objects):
    def draw(*shape):
        return torch.randn(*shape, *SHAPE, generator=generator, dtype=torch.float64)

    none = torch.empty(0)
    features = KeyFeatures(draw(1, 6), draw(1, 1).square() + 1, draw(1, 6).sigmoid(), none, none, none)
    return features, draw(1, objects, 4)


@pytest.mark.parametrize(
    "config",
    [
        SMALL,
        replace(SMALL, top_k=3),
        replace(SMALL, long_term=False),
        replace(SMALL, num_prototypes=9, max_long_term_tokens=10),
        replace(SMALL, max_working_frames=40, top_k=3),
    ],
)
def test_the_growing_memory_reads_what_the_memory_reads(config):
    """Consolidation and eviction included; an object removed on the way."""
    generator = torch.Generator().manual_seed(1)
    features, value = random_frame(generator, 3)
    growing, memory = (kind(config, features) for kind in (ConcatenatedMemory, XMemMemory))
    objects = 3
    for number in range(24):
        features, value = random_frame(generator, objects)
        if number:
            read = torch.cat(memory.read(features), 1)
            torch.testing.assert_close(growing.read(features)[0], read, atol=1e-10, rtol=1e-10)
        growing.add(features, value)
        memory.add(features, value)
        if number == 15:
            growing.remove(1)
            memory.remove(1)
            objects = 2
        assert (growing.objects, growing.working_tokens, growing.long_term_tokens) == (
            memory.objects,
            memory.working_tokens,
            memory.long_term_tokens,
        )
    assert (growing.long_term_tokens > 0) == (config.long_term and config.max_working_frames < 24)


def test_the_growing_memory_refuses_late_objects():
    generator = torch.Generator().manual_seed(0)
    frame = random_frame(generator, 1)
    growing = ConcatenatedMemory(SMALL, frame[0])
    growing.add(*frame)
    with pytest.raises(UsageError, match="1 objects and cannot take 2"):
        growing.add(*random_frame(generator, 2))


def test_the_baseline_computes_the_same_probabilities(tiny_network):
    config = MemoryConfig(memory_every=1, max_long_term_tokens=300)
    published = prepare_published(tiny_network, Precision.fp32)
    eager = prepare(copy.deepcopy(tiny_network), CPU, Precision.fp32, "eager")
    engines = [Engine(published.network, replace(config, kind=CONCATENATED)), Engine(eager.network, config)]
    states = [engine.start() for engine in engines]
    for prob, other in zip(*map(segment, (published, eager), engines, states, (30, 30)), strict=True):
        torch.testing.assert_close(prob, other, atol=1e-4, rtol=0)
    assert states[0].memory.long_term_tokens == states[1].memory.long_term_tokens > 0


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.slow] * ("openvino" in name)) for name in default_variants()]
)
def test_every_variant_segments_the_same_clip(tiny_network, name, request):
    """fp32 to rounding; bf16 as near as its 8 bits let it, several frames and a memory frame later."""
    if name.startswith("openvino"):
        request.getfixturevalue("openvino_models")
    probs = []
    for variant in (make_variant(one, tiny_network) for one in ("published_fp32", name)):
        engine = Engine(variant.prepared.network, MemoryConfig(variant.memory, memory_every=2))
        probs.append(segment(variant.prepared, engine, engine.start(), 5)[-1])
    difference = (probs[0] - probs[1]).abs()
    assert difference.mean() < (1e-5 if variant.prepared.precision is Precision.fp32 else 2e-2)
    assert variant.prepared.active


def segment(prepared, engine, state, frames):
    """Probabilities of each frame of the benchmark's clip."""
    workload = Workload(64, 2)
    mask = torch.from_numpy(block_mask(workload))
    images = [normalise(torch.from_numpy(pixels)) for pixels in drifting_frames(workload, frames)]
    with torch.no_grad(), prepared.context():
        return [engine.step(state, image, None if t else mask) for t, image in enumerate(images)]


@pytest.mark.slow
@pytest.mark.parametrize("trained", [True, False])
def test_int8_is_measured_whether_or_not_masks_agree(openvino_models, tiny_network, trained):
    """Its models are not found by runs for users."""
    pytest.importorskip("nncf", reason="the extra int8 is not installed")
    network = load_benchmark_network("tiny", None) if trained else tiny_network
    assert "openvino_int8" not in default_variants()
    with torch.no_grad():
        variants = [make_variant(name, network) for name in ("fast_fp32", "openvino_int8")]
        rows = measure(Workload(128, 1), variants, 1, lambda said: None)
    assert [row["variant"] for row in rows] == ["fast_fp32", "openvino_int8"]
    int8 = variants[1].prepared.network.int8
    assert int8.parts() == ["decode", "encode_image", "encode_memory"] and int8.news[-1].holds
    assert not has_models(network, int8_toolchain())


def test_making_a_baseline_leaves_the_network_alone(tiny_network):
    network = copy.deepcopy(tiny_network)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    for name in ("published_bf16", "fast_bf16"):
        make_variant(name, network)
    for name, value in network.state_dict().items():
        assert value.dtype is before[name].dtype
        assert torch.equal(value, before[name])


def test_a_backend_registered_outside_is_a_row(tiny_network):
    @BACKENDS.register("doubled")
    def doubled(network, device, precision):
        return BACKENDS["eager"](network, device, precision)[0], ("as eager",), True

    try:
        assert {"doubled_fp32", "doubled_bf16"} <= set(default_variants())
        (row,) = measure(Workload(64, 1), [make_variant("doubled_fp32", tiny_network)], 1, lambda step: None)
    finally:
        del BACKENDS._entries["doubled"]
    assert row["variant"] == "doubled_fp32"
    assert row["p50_ms"] > 0


def test_a_file_of_another_family_is_measured_as_what_it_is(tiny_cutie_weights):
    assert load_benchmark_network("xmem", str(tiny_cutie_weights)).conventions.memory != "xmem"
    assert load_benchmark_network("cutie_small", None).sizes.pixel_trunk.blocks == (2, 2, 2)


def test_variants_that_do_not_exist_are_refused():
    check_variants(["published_fp32", "compiled_bf16"], "variants")
    with pytest.raises(UsageError, match=r"variants=fast_fp8.*fast_bf16"):
        check_variants(["fast_fp8"], "variants")
    with pytest.raises(UsageError, match=r"end_to_end\.variant=published_fp32"):
        check_variants(["published_fp32"], "end_to_end.variant", baselines=False)
