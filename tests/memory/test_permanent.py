"""Permanent memory frames, and memory classes registered by plugins."""

import pytest
import torch
from test_memory import TOKENS, Scene, rows, small

from xmem_infer.config import LateObjects, MemoryConfig
from xmem_infer.engine.engine import Engine
from xmem_infer.errors import UsageError
from xmem_infer.memory.manager import XMemMemory
from xmem_infer.memory.protocol import MEMORIES
from xmem_infer.runtime.backends.prepare import prepare


def held(memory, features):
    """Return whether working memory contains all tokens of a frame with their values."""
    keys = memory.store.key[memory.store.working.start : memory.store.working.stop]
    return all((keys == key).all(1).any() for key in rows(features.key[0]))


@pytest.mark.parametrize("long_term", [True, False])
def test_permanent_frames_are_never_evicted_nor_consolidated(long_term):
    memory, scene, kept, passing = XMemMemory(small(long_term=long_term), Scene(9).features()), Scene(1), [], []
    for frame in range(60):
        features = scene.features()
        permanent = frame in (0, 3, 4, 20, 33)
        (kept if permanent else passing).append(features)
        if frame:
            memory.read(features)
        memory.add(features, scene.value(2), permanent)
    assert all(held(memory, features) for features in kept)
    if long_term:
        # Permanent frames do not count towards the limit: at most max_working_frames - 1 others remain.
        others = memory.working_tokens // TOKENS - len(kept)
        assert small().min_working_frames - 1 <= others < small().max_working_frames
        assert memory.long_term_tokens > 0
        assert not held(memory, passing[0])


def test_many_permanent_frames_leave_room_for_other_frames():
    memory, scene = XMemMemory(small(), Scene(9).features()), Scene(2)
    sizes = []
    for frame in range(80):
        memory.add(scene.features(), scene.value(1), permanent=frame % 10 == 0)
        sizes.append(memory.working_tokens // TOKENS)
    permanent = [1 + frame // 10 for frame in range(80)]
    assert all(size - kept < small().max_working_frames for size, kept in zip(sizes, permanent, strict=True))


def test_the_published_pairing_refuses_permanent_frames():
    memory, scene = XMemMemory(small(late_objects=LateObjects.published), Scene(9).features()), Scene(0)
    memory.add(scene.features(), scene.value(1))
    with pytest.raises(UsageError, match="late_objects=published: use aligned"):
        memory.add(scene.features(), scene.value(1), permanent=True)


def test_a_permanent_frame_without_a_mask_is_added_immediately(tiny_network):
    with torch.no_grad():
        engine = Engine(prepare(tiny_network, torch.device("cpu")).network, MemoryConfig(memory_every=50))
        state, image = engine.start(), torch.randn(3, 32, 48)
        engine.step(state, image, torch.ones(32, 48, dtype=torch.uint8))
        engine.step(state, image)
        assert state.memory.working_tokens == 6
        engine.step(state, image, permanent=True)
    assert state.memory.working_tokens == 12


class FirstFrameOnly:
    """A memory that stores the first frame with objects and returns its values for every query."""

    def __init__(self, config, features):
        self.value, self.working_tokens, self.long_term_tokens = None, 0, 0

    @property
    def objects(self):
        return 0 if self.value is None else self.value.shape[1]

    def read(self, query):
        return [self.value]

    def add(self, frame, value, permanent=False):
        self.value = value if self.value is None else self.value

    def remove(self, slot):
        self.value = torch.cat([self.value[:, :slot], self.value[:, slot + 1 :]], 1)

    def detach(self):
        self.value = self.value.detach()


def test_a_registered_memory_is_found_by_its_name(tiny_network, monkeypatch):
    monkeypatch.setattr(MEMORIES, "_entries", dict(MEMORIES._entries))
    MEMORIES.register("first frame only")(FirstFrameOnly)
    network = prepare(tiny_network, torch.device("cpu")).network
    with torch.no_grad():
        engine = Engine(network, MemoryConfig(kind="first frame only", memory_every=1))
        state = engine.start()
        for t in range(4):
            mask = torch.ones(32, 48, dtype=torch.uint8) if t == 0 else None
            assert engine.step(state, torch.randn(3, 32, 48), mask).shape == (2, 32, 48)
    assert isinstance(state.memory, FirstFrameOnly)
    with pytest.raises(UsageError, match=r"memory.kind=xmen.*did you mean xmem\?"):
        Engine(network, MemoryConfig(kind="xmen"))
