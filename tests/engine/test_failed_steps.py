"""A step that is refused or fails leaves the state unchanged: the next frames give the same results."""

import pytest
import torch

from xmem_infer.config import MemoryConfig
from xmem_infer.engine.engine import Engine
from xmem_infer.errors import NonFiniteError, UsageError
from xmem_infer.memory.store import TokenStore
from xmem_infer.runtime.backends.prepare import prepare

HEIGHT, WIDTH = 40, 52
MEMORY = MemoryConfig(memory_every=2, max_working_frames=3, min_working_frames=2, num_prototypes=8)


@pytest.fixture
def engine(tiny_network):
    with torch.no_grad():
        yield Engine(prepare(tiny_network, torch.device("cpu")).network, MEMORY)


def picture(seed):
    return torch.randn(3, HEIGHT, WIDTH, generator=torch.Generator().manual_seed(seed))


def mask_of(value, top):
    mask = torch.zeros(HEIGHT, WIDTH, dtype=torch.uint8)
    mask[top : top + 10] = value
    return mask


def play(engine, disturb=lambda state, t: None):
    state, found = engine.start(), []
    for t in range(12):
        disturb(state, t)
        mask = {0: mask_of(1, 0), 6: mask_of(4, 20)}.get(t)
        found.append(engine.step(state, picture(t), mask))
    return found


def assert_unaffected(engine, disturb):
    for expected, found in zip(play(engine), play(engine, disturb), strict=True):
        assert torch.equal(found, expected)


GOOD = picture(99)
NEW = mask_of(9, 30)
REFUSED = {
    "uint8 image": ((GOOD * 50).byte(), NEW, None),
    "four channels": (torch.cat([GOOD, GOOD[:1]]), NEW, None),
    "float64 image": (GOOD.double(), NEW, None),
    "NaN in the image": (GOOD.masked_fill(GOOD > 2, torch.nan), NEW, None),
    "another size": (GOOD[:, :20], NEW[:20], None),
    "float mask": (GOOD, NEW.float(), None),
    "bool mask": (GOOD, NEW > 0, None),
    "mask of another size": (GOOD, NEW[:20], None),
    "an id twice": (GOOD, NEW, [9, 9]),
    "background as an object": (GOOD, NEW, [0, 9]),
    "a negative id": (GOOD, NEW, [-1, 9]),
    "ids without a mask": (GOOD, None, [9]),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_refused_step_leaves_the_state_as_it_was(engine, case):
    def disturb(state, t):
        with pytest.raises(UsageError):
            engine.step(state, *REFUSED[case]) if t else engine.step(state, REFUSED[case][0][:2], NEW)

    assert_unaffected(engine, disturb)


@pytest.mark.parametrize("part", ["encode_image", "segment", "encode_memory"])
def test_a_failing_network_leaves_the_state_as_it_was(engine, monkeypatch, part):
    def disturb(state, t):
        def out_of_memory(*_):
            raise torch.OutOfMemoryError("no room")

        with monkeypatch.context() as patch, pytest.raises(torch.OutOfMemoryError):
            patch.setattr(engine.network, part, out_of_memory)
            engine.step(state, GOOD, NEW if t != 3 or part != "segment" else None, permanent=True)

    if part == "segment":
        assert_unaffected(engine, lambda state, t: disturb(state, t) if t else None)
    else:
        assert_unaffected(engine, disturb)


@pytest.mark.parametrize("part", ["add_bucket", "grow_working", "append", "write", "packed_keys", "count_use"])
def test_a_failing_memory_leaves_the_state_as_it_was(engine, monkeypatch, part):
    def disturb(state, t):
        def out_of_memory(*_):
            raise MemoryError

        with monkeypatch.context() as patch:
            patch.setattr(TokenStore, part, out_of_memory)
            if part == "grow_working" and t not in (3, 5):
                return
            if part in ("packed_keys", "count_use") and not t:
                return
            if part == "grow_working":  # a permanent frame exceeds the capacity
                state.memory.store.working.capacity = state.memory.store.working.size
            capacity = state.memory.store.working.capacity if state.memory else 0
            with pytest.raises(MemoryError):
                engine.step(state, GOOD, NEW, permanent=True)
            if state.memory:
                state.memory.store.working.capacity = max(capacity, MEMORY.max_working_frames * 12)

    assert_unaffected(engine, disturb)


def test_probabilities_that_are_not_finite_leave_the_state_as_it_was(engine, monkeypatch):
    segment = engine.network.segment

    def disturb(state, t):
        def overflowing(*arguments):
            objects, odds, prob = segment(*arguments)
            return objects, odds, prob * torch.inf

        with monkeypatch.context() as patch:
            patch.setattr(engine.network, "segment", overflowing)
            if t:
                with pytest.raises(NonFiniteError):
                    engine.step(state, GOOD)

    assert_unaffected(engine, disturb)


def test_a_step_after_the_end_is_refused(engine):
    state = engine.start()
    engine.step(state, GOOD, NEW, end=True)
    with pytest.raises(UsageError, match="has ended"):
        engine.step(state, GOOD)
