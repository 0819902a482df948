import copy

import torch

from xmem_infer.benchmark.frames import Variant, bands, drift, median_frame_ms
from xmem_infer.benchmark.published import PublishedEngine, prepare_published
from xmem_infer.config import MemoryConfig, Precision
from xmem_infer.engine.engine import Engine
from xmem_infer.runtime.prepare import prepare

CPU = torch.device("cpu")


def test_the_baseline_computes_the_same_probabilities(tiny_network):
    config = MemoryConfig(memory_every=1, max_long_term_tokens=300)
    engines = [
        PublishedEngine(prepare_published(copy.deepcopy(tiny_network)), config),
        Engine(prepare(tiny_network, CPU), config),
    ]
    states = [engine.start() for engine in engines]
    mask = bands(2, 64, 96, CPU)
    with torch.no_grad():
        for t, image in enumerate(drift(30, 64, 96, CPU)):
            found = [
                engine.step(state, image, mask if t == 0 else None)
                for engine, state in zip(engines, states, strict=True)
            ]
            torch.testing.assert_close(*found, atol=1e-4, rtol=0)
    assert states[0].memory.long_term_tokens == states[1].memory.long_term_tokens > 0


def test_every_variant_is_timed(tiny_network):
    prepared = prepare(tiny_network, CPU)
    variants = [
        Variant(precision.value, lambda config: Engine(prepared, config), precision)
        for precision in (Precision.fp32, Precision.bf16)
    ]
    times = median_frame_ms(variants, objects=2, height=48, width=64, rounds=2)
    assert set(times) == {"fp32", "bf16"}
    assert all(spent > 0 for spent in times.values())
    assert torch.is_grad_enabled()
