import pytest

from xmem_infer.config import MemoryConfig
from xmem_infer.engine.schedule import Clock, advance, plan_frame


def play(config, frames, given=()):
    """Return the plans of all frames; `given` maps a frame to whether its mask annotates every object."""
    clock, plans, given = Clock(), [], {0: True, **dict(given)}
    for t in range(frames):
        plan = plan_frame(clock, config, t in given, given.get(t, False), t == frames - 1, False)
        plans.append(plan)
        advance(clock, plan)
    return plans


def frames_with(plans, step):
    return [t for t, plan in enumerate(plans) if getattr(plan, step)]


def test_default_schedule():
    plans = play(MemoryConfig(memory_every=5), 12)
    assert frames_with(plans, "memory_frame") == [0, 5, 10]
    assert frames_with(plans, "deep_update") == [0, 5, 10]
    assert frames_with(plans, "segment") == list(range(1, 12))
    assert frames_with(plans, "sensory_update") == [1, 2, 3, 4, 6, 7, 8, 9]


def test_the_last_frame_is_not_added_to_memory():
    plans = play(MemoryConfig(memory_every=1), 3)
    assert plans[-1].segment
    assert not (plans[-1].memory_frame or plans[-1].deep_update or plans[-1].sensory_update)


def test_deep_updates_on_their_own_schedule_wait_for_a_memory_frame():
    plans = play(MemoryConfig(memory_every=3, deep_update_every=2), 11)
    assert frames_with(plans, "memory_frame") == [0, 3, 6, 9]
    assert frames_with(plans, "deep_update") == [0, 3, 6, 9]
    assert frames_with(plans, "sensory_update") == list(range(10))
    sparse = play(MemoryConfig(memory_every=3, deep_update_every=5), 11)
    assert frames_with(sparse, "deep_update") == [0, 6]


@pytest.mark.parametrize(("every_object", "segmented"), [(True, False), (False, True)])
def test_a_given_mask_makes_a_memory_frame_and_restarts_the_count(every_object, segmented):
    plans = play(MemoryConfig(memory_every=5), 12, {3: every_object})
    assert frames_with(plans, "memory_frame") == [0, 3, 8]
    assert plans[3].segment is segmented


def test_a_single_frame():
    (plan,) = play(MemoryConfig(), 1)
    assert not plan.segment
    assert not plan.memory_frame
