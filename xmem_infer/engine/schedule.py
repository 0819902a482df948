"""Decide the steps of each frame from counters alone, as the published frame loop does."""

from dataclasses import dataclass

from ..config import MemoryConfig


@dataclass
class Clock:
    """Frame counters of one video, which start at the first frame with a mask.

    t: frames since then. last_memory, last_deep_update: values of t at the last memory frame and at the last deep
    update of the sensory state.
    """

    t: int = 0
    last_memory: int = 0
    last_deep_update: int | None = None


@dataclass(frozen=True)
class FramePlan:
    """The steps to carry out on one frame; `deep_update` is set on memory frames only."""

    segment: bool
    memory_frame: bool
    deep_update: bool
    sensory_update: bool


def plan_frame(
    clock: Clock, config: MemoryConfig, remember: bool, every_object_given: bool, end: bool, staggered_updates: bool
) -> FramePlan:
    """Decide which steps the next frame needs.

    remember: whether it becomes a memory frame anyway, because a mask is given or it is permanent. every_object_given:
    whether the given mask labels every object, so that nothing is left to segment. end: whether it is the last frame,
    after which memory is not read any more. staggered_updates: see `model.family.Conventions`.
    """
    since_memory = clock.t - clock.last_memory
    memory_frame = (since_memory >= config.memory_every or remember) and not end
    synchronous = config.deep_update_every < 0
    if staggered_updates:
        sensory_update = since_memory in staggered_frames(config.memory_every, config.stagger_updates)
    else:
        sensory_update = not (synchronous and memory_frame)
    due = clock.last_deep_update is None or clock.t - clock.last_deep_update >= config.deep_update_every
    return FramePlan(
        segment=clock.t > 0 and not every_object_given,
        memory_frame=memory_frame,
        deep_update=memory_frame and (synchronous or due),
        sensory_update=sensory_update and not end,
    )


def staggered_frames(memory_every: int, updates: int) -> list[int]:
    """Return on which frames after a memory frame the sensory state is updated, counted from 1.

    These are `updates` frames (at most all) from 1 to `memory_every`, the next memory frame, spaced as evenly as whole
    numbers allow.
    """
    updates = min(updates, memory_every)
    step = (memory_every - 1) / max(1, updates - 1)
    return [round(1 + step * number) for number in range(updates)]


def advance(clock: Clock, plan: FramePlan) -> None:
    """Advance the counters after a frame that was carried out as planned."""
    if plan.memory_frame:
        clock.last_memory = clock.t
    if plan.deep_update:
        clock.last_deep_update = clock.t
    clock.t += 1
