"""The baselines compute what this project computes: only then their times may be compared."""

import copy
from dataclasses import replace

import pytest
import torch

from xmem_infer.config import MemoryConfig, Precision
from xmem_infer.engine.engine import Engine
from xmem_infer.errors import UsageError
from xmem_infer.lab.benchmark.cat_memory import PUBLISHED_MEMORY, CatMemory
from xmem_infer.lab.benchmark.config import VARIANTS
from xmem_infer.lab.benchmark.contenders import make_contender, prepare_published
from xmem_infer.lab.benchmark.scene import block_mask, drifting_frames
from xmem_infer.lab.benchmark.workloads import Workload
from xmem_infer.memory.manager import XMemMemory
from xmem_infer.model.network import KeyFeatures
from xmem_infer.ops.images import normalise
from xmem_infer.runtime.backends.prepare import prepare

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
    start, _ = random_frame(torch.Generator().manual_seed(0), 1)
    growing, memory = (kind(config, start) for kind in (CatMemory, XMemMemory))
    generator, objects = torch.Generator().manual_seed(1), 3
    for number in range(24):
        features, value = random_frame(generator, objects)
        if number:
            torch.testing.assert_close(growing.read(features), memory.read(features), atol=1e-10, rtol=1e-10)
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
    growing = CatMemory(SMALL, random_frame(generator, 1)[0])
    growing.add(*random_frame(generator, 1))
    with pytest.raises(UsageError, match="1 objects and cannot take 2"):
        growing.add(*random_frame(generator, 2))


def test_the_baseline_computes_the_same_probabilities(tiny_network):
    config = MemoryConfig(memory_every=1, max_long_term_tokens=300)
    engines = [
        Engine(prepare_published(tiny_network, CPU, Precision.fp32).network, replace(config, kind=PUBLISHED_MEMORY)),
        Engine(prepare(copy.deepcopy(tiny_network), CPU, Precision.fp32, "eager").network, config),
    ]
    states = [engine.start() for engine in engines]
    workload = Workload(64, 2)
    mask = torch.from_numpy(block_mask(workload))
    with torch.no_grad():
        for t, image in enumerate(map(torch.from_numpy, drifting_frames(workload, 30))):
            found = [
                engine.step(state, normalise(image), mask if t == 0 else None)
                for engine, state in zip(engines, states, strict=True)
            ]
            torch.testing.assert_close(*found, atol=1e-4, rtol=0)
    assert states[0].memory.long_term_tokens == states[1].memory.long_term_tokens > 0


@pytest.mark.parametrize("name", [name for name in VARIANTS if not name.startswith("compiled")])
def test_every_contender_segments_the_same_clip(tiny_network, name):
    """fp32 to rounding; bf16 as near as its 8 bits let it, several frames and a memory frame later."""
    reference, contender = (make_contender(kind, tiny_network, CPU) for kind in ("published_fp32", name))
    config, workload = MemoryConfig(memory_every=2), Workload(64, 2)
    mask = torch.from_numpy(block_mask(workload))
    probs = []
    for one in (reference, contender):
        engine = Engine(one.prepared.network, replace(config, kind=one.memory))
        state = engine.start()
        for t, image in enumerate(map(torch.from_numpy, drifting_frames(workload, 5))):
            with torch.no_grad(), one.prepared.context():
                prob = engine.step(state, normalise(image), mask if t == 0 else None)
        probs.append(prob)
    difference = (probs[0] - probs[1]).abs()
    assert difference.mean() < (1e-5 if contender.precision is Precision.fp32 else 2e-2)
    assert contender.active


def test_making_a_baseline_leaves_the_network_alone(tiny_network):
    network = copy.deepcopy(tiny_network)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    for name in ("published_bf16", "plain_bf16"):
        make_contender(name, network, CPU)
    for name, value in network.state_dict().items():
        assert value.dtype is before[name].dtype and torch.equal(value, before[name])
