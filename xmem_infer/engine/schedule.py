"""What a frame needs, decided from counters alone (published frame loop; times count from the first mask)."""

from dataclasses import dataclass

from ..config import MemoryConfig


@dataclass
class Clock:
    """Frames since the first mask (t), and when memory and sensory state were last written."""

    t: int
    last_memory: int
    last_deep_update: int

    @classmethod
    def start(cls, config: MemoryConfig) -> "Clock":
        """The clock at the first frame with a mask."""
        return cls(t=0, last_memory=0, last_deep_update=-config.deep_update_every)


@dataclass(frozen=True)
class FramePlan:
    """The steps of one frame. deep_update takes effect on memory frames only."""

    segment: bool
    memory_frame: bool
    deep_update: bool
    sensory_update: bool


def plan_frame(
    clock: Clock,
    config: MemoryConfig,
    remember: bool,
    every_object_given: bool,
    end: bool,
    staggered_updates: bool = False,
) -> FramePlan:
    """Decide a frame.

    remember: it is given or permanent; end: it is the last, after which nothing is read; staggered_updates: see
    `model.family.Conventions`.
    """
    since = clock.t - clock.last_memory
    memory_frame = (since >= config.memory_every or remember) and not end
    synchronous = config.deep_update_every < 0
    if staggered_updates:
        sensory_update = since in staggered(config.memory_every, config.stagger_updates)
    else:
        sensory_update = not (synchronous and memory_frame)
    due = clock.t - clock.last_deep_update >= config.deep_update_every
    return FramePlan(
        segment=clock.t > 0 and not every_object_given,
        memory_frame=memory_frame,
        deep_update=memory_frame and (synchronous or due),
        sensory_update=sensory_update and not end,
    )


def staggered(memory_every: int, updates: int) -> list[int]:
    """The frames after a memory frame, the next memory frame included, on which sensory state is updated.

    `updates` of them from the first to the last, as evenly as whole numbers allow; all, where there are no more.
    """
    if updates >= memory_every:
        return list(range(1, memory_every + 1))
    step = (memory_every - 1) / max(1, updates - 1)
    return [round(1 + step * number) for number in range(updates)]


def advance(clock: Clock, plan: FramePlan) -> None:
    """Count a frame that was carried out as planned."""
    if plan.memory_frame:
        clock.last_memory = clock.t
    if plan.deep_update:
        clock.last_deep_update = clock.t
    clock.t += 1
