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


def plan_frame(clock: Clock, config: MemoryConfig, remember: bool, every_object_given: bool, end: bool) -> FramePlan:
    """Decide a frame. remember: it is given or permanent; end: it is the last, after which nothing is read."""
    memory_frame = (clock.t - clock.last_memory >= config.memory_every or remember) and not end
    synchronous = config.deep_update_every < 0
    due = clock.t - clock.last_deep_update >= config.deep_update_every
    return FramePlan(
        segment=clock.t > 0 and not every_object_given,
        memory_frame=memory_frame,
        deep_update=memory_frame and (synchronous or due),
        sensory_update=not (synchronous and memory_frame) and not end,
    )


def advance(clock: Clock, plan: FramePlan) -> None:
    """Count a frame that was carried out as planned."""
    if plan.memory_frame:
        clock.last_memory = clock.t
    if plan.deep_update:
        clock.last_deep_update = clock.t
    clock.t += 1
