import copy

import pytest
import torch
from reference import ReferenceMemory

from xmem_infer.config import LateObjects, MemoryConfig
from xmem_infer.memory import consolidation, manager, published
from xmem_infer.memory.manager import XMemMemory
from xmem_infer.memory.per_bucket import PerBucketMemory
from xmem_infer.memory.store import TokenStore
from xmem_infer.model.network import KeyFeatures
from xmem_infer.ops.affinity import similarity

C_K, C_V, HEIGHT, WIDTH = 6, 4, 2, 3
TOKENS = HEIGHT * WIDTH


class Scene:
    """Random features in both layouts: (1, C, h, w) for the memory, rows of tokens for the reference."""

    def __init__(self, seed):
        self.generator = torch.Generator().manual_seed(seed)

    def features(self):
        def draw(channels):
            return torch.randn(1, channels, HEIGHT, WIDTH, generator=self.generator, dtype=torch.float64)

        empty = torch.empty(0)
        return KeyFeatures(draw(C_K), draw(1).square() + 1, draw(C_K).sigmoid(), empty, empty, empty)

    def value(self, objects):
        shape = (1, objects, C_V, HEIGHT, WIDTH)
        return torch.randn(shape, generator=self.generator, dtype=torch.float64)


def rows(x):
    return x.flatten(-2).transpose(-1, -2)


def small(**changes):
    settings = {
        "min_working_frames": 2,
        "max_working_frames": 4,
        "num_prototypes": 5,
        "max_long_term_tokens": 17,
        # Every query reads every token, so that usages are distinct and the choice of prototypes is unambiguous.
        "top_k": 100,
    }
    return MemoryConfig(**{**settings, **changes})


def memory_and_reference(config):
    twin = ReferenceMemory(
        config.top_k,
        config.min_working_frames,
        config.max_working_frames,
        config.num_prototypes,
        config.max_long_term_tokens,
    )
    return XMemMemory(config, Scene(99).features()), twin


@pytest.mark.parametrize("seed", [0, *(pytest.param(seed, marks=pytest.mark.slow) for seed in (1, 2, 3))])
@pytest.mark.parametrize(
    ("births", "changes"),
    [
        ({0: 2}, {}),
        ({0: 1, 3: 1}, {}),
        ({0: 2, 1: 1, 5: 2, 9: 1}, {}),
        ({0: 1, 6: 1}, {"min_working_frames": 1, "max_working_frames": 3}),
        ({0: 1, 1: 1, 2: 1, 3: 1, 4: 1, 5: 1}, {"max_long_term_tokens": 30}),
        ({0: 1, 4: 1}, {"num_prototypes": 9, "max_long_term_tokens": 10}),
        ({0: 1, 4: 1, 7: 2}, {"max_working_frames": 40, "top_k": 3}),
    ],
)
def test_memory_equals_the_reference_memory(seed, births, changes):
    """Reads equal those of the list-based reference, with several buckets, consolidation and eviction."""
    config = small(**changes)
    memory, twin = memory_and_reference(config)
    scene, objects = Scene(seed), 0
    for frame in range(24):
        features = scene.features()
        if frame:
            expected = twin.read(rows(features.key[0]), rows(features.selection[0]))
            found = rows(torch.cat(memory.read(features), 1)[0])
            torch.testing.assert_close(found, expected, atol=1e-9, rtol=1e-7)
        objects += births.get(frame, 0)
        value = scene.value(objects)
        memory.add(features, value)
        values = {index: rows(value[0, index]) for index in range(objects)}
        twin.add(rows(features.key[0]), rows(features.shrinkage[0])[:, 0], rows(features.selection[0]), values)
        assert memory.long_term_tokens == len(twin.long_term)
        assert memory.working_tokens == TOKENS * len(twin.working)
    assert memory.long_term_tokens <= config.max_long_term_tokens


def test_reading_in_chunks_equals_reading_at_once(monkeypatch):
    def reads():
        memory, _ = memory_and_reference(small())
        scene, found = Scene(4), []
        for frame in range(24):
            features = scene.features()
            if frame:
                found.append(torch.cat(memory.read(features), 1))
            memory.add(features, scene.value(1 + (frame > 3)))
        return found, memory.store.use

    at_once, use = reads()
    monkeypatch.setattr(manager, "MAX_SCORES", 50)  # one or two queries
    parts, use_of_parts = reads()
    torch.testing.assert_close(parts, at_once)
    torch.testing.assert_close(use_of_parts, use)


def run(memory, scene, frames, objects=1):
    for _ in range(frames):
        features = scene.features()
        if memory.objects:
            assert all(read.isfinite().all() for read in memory.read(features))
        memory.add(features, scene.value(objects))


def test_buffers_are_not_reallocated_during_a_video():
    memory, _ = memory_and_reference(small())
    scene = Scene(0)
    run(memory, scene, 2)
    addresses = memory.store.key.data_ptr(), memory.store.buckets[0].value.data_ptr()
    run(memory, scene, 60)
    assert (memory.store.key.data_ptr(), memory.store.buckets[0].value.data_ptr()) == addresses


def test_without_long_term_memory_all_frames_stay_in_working_memory():
    memory, _ = memory_and_reference(small(long_term=False))
    run(memory, Scene(0), 30)
    assert (memory.working_tokens, memory.long_term_tokens) == (30 * TOKENS, 0)


def test_eviction_at_exactly_the_limit_evicts_nothing():
    # k = 0 crashes the published code. Limit = 15 - 5 = 10 = two consolidations of 5.
    memory, _ = memory_and_reference(small(max_long_term_tokens=15))
    scene, seen = Scene(0), []
    for _ in range(14):
        run(memory, scene, 1)
        seen.append(memory.long_term_tokens)
    assert seen[:9] == [0, 0, 0, 5, 5, 10, 10, 15, 15]  # at 10 nothing is evicted
    assert max(seen) == 15


def test_published_pairing_survives_eviction_with_several_buckets():
    memory, _ = memory_and_reference(small(late_objects=LateObjects.published))
    scene = Scene(1)
    run(memory, scene, 3, objects=1)
    run(memory, scene, 4, objects=2)
    run(memory, scene, 30, objects=3)
    assert memory.long_term_tokens <= 17


def test_a_late_object_keeps_its_only_annotated_frame():
    """Its first frame stays in working memory when others leave, except with the published pairing."""
    memory, _ = memory_and_reference(small())
    scene = Scene(0)
    run(memory, scene, 1, objects=1)
    birth, value = scene.features(), scene.value(2)
    memory.add(birth, value)
    run(memory, scene, 40, objects=2)
    key = rows(birth.key[0])
    held = [row for row in memory.store.filled.tolist() if (memory.store.key[row] == key[0]).all()]
    assert memory.store.working.start <= held[-1] < memory.store.working.stop
    assert torch.equal(memory.store.buckets[1].value[0, held[-1]], rows(value[0, 1])[0])


def test_many_late_objects_do_not_grow_memory_without_bound():
    memory, _ = memory_and_reference(small())
    scene = Scene(0)
    for objects in range(1, 30):
        run(memory, scene, 1, objects)
    assert memory.working_tokens <= (2 * memory.config.max_working_frames + 1) * TOKENS


def test_removed_objects_leave_the_others_untouched():
    memory, _ = memory_and_reference(small())
    scene = Scene(0)
    run(memory, scene, 2, objects=2)
    run(memory, scene, 3, objects=3)
    query = scene.features()
    before = torch.cat(memory.read(query), 1)
    memory.remove(0)
    torch.testing.assert_close(torch.cat(memory.read(query), 1), before[:, 1:])
    memory.remove(1)
    torch.testing.assert_close(torch.cat(memory.read(query), 1), before[:, 1:2])
    memory.remove(0)
    assert (memory.objects, memory.store.buckets) == (0, [])


def test_unknown_slots_are_refused():
    memory, _ = memory_and_reference(small())
    with pytest.raises(IndexError, match="slot"):
        memory.remove(0)


def test_keys_far_from_zero_keep_their_precision():
    generator = torch.Generator().manual_seed(0)
    key, query_key = (100 + torch.randn(n, 16, generator=generator) for n in (60, 20))
    shrinkage, selection = 1 + torch.rand(60, generator=generator), torch.rand(20, 16, generator=generator)
    store = TokenStore(0, 60, key.T.reshape(1, 16, 6, 10))
    for part in (slice(0, 40), slice(40, 60)):  # appended before and after the first reading
        store.append(store.working, key[part], shrinkage[part])
        found = store.packed_keys().similarity(query_key, selection)
    expected = similarity(key.double(), shrinkage.double(), query_key.double(), selection.double())
    torch.testing.assert_close(found.double(), expected, atol=1e-4, rtol=1e-5)
    plain = similarity(key, shrinkage, query_key, selection)
    assert (plain - expected).abs().max() > 1e-3  # error of the expanded square far from zero


@pytest.mark.parametrize(
    ("kind", "changes"),
    [
        (XMemMemory, {}),
        (XMemMemory, {"late_objects": LateObjects.published}),
        (PerBucketMemory, {"buffer_tokens": 3}),
        (PerBucketMemory, {"long_term": False, "fifo_frames": 3}),
    ],
)
@pytest.mark.fault("out of memory while consolidating ({kind})", "memory content is unchanged")
def test_a_failed_addition_leaves_memory_unchanged(kind, changes, monkeypatch):
    """Adding a frame fails once at each place that allocates tensors, and then succeeds."""
    scene, calls_left, failures = Scene(0), [0], 0

    def failing(function):
        def counted(*arguments):
            calls_left[0] -= 1
            if calls_left[0] < 0:
                raise MemoryError
            return function(*arguments)

        return counted

    def add_after_failures(features, value):
        for calls in range(100):
            calls_left[0] = calls
            try:
                return memory.add(features, value)
            except MemoryError:
                nonlocal failures
                failures += 1

    memory = kind(small(**changes), scene.features())
    twin = copy.deepcopy(memory)  # never sees a failure
    monkeypatch.setattr(TokenStore, "prepare_compaction", failing(TokenStore.prepare_compaction))
    for module in (consolidation, published):
        monkeypatch.setattr(module, "potentiate", failing(module.potentiate))
    for frame in range(24):
        calls_left[0] = 1000
        features, value = scene.features(), scene.value(1 + (frame > 0) + (frame > 7))
        if frame:
            reads = zip(memory.read(features), twin.read(features), strict=True)
            assert all(torch.equal(found, expected) for found, expected in reads)
        with pytest.raises((RuntimeError, ValueError)):
            memory.add(features, value[..., :-1])
        twin.add(features, value)
        add_after_failures(features, value)
        assert (memory.working_tokens, memory.long_term_tokens) == (twin.working_tokens, twin.long_term_tokens)
    assert failures > 15
