"""All that one video knows. A new video is a new value; there is nothing to clear."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from torch import Tensor

from ..memory.protocol import Memory
from ..model.family import ObjectState
from .drift import DriftWatch
from .schedule import Clock

Absences = Mapping[int, Sequence[tuple[int, int]]]
"""Stretches of frames, by the indices of the first and the last, on which an object is not there, by its id."""


def absent_ids(absent: Absences, index: int) -> list[int]:
    """The objects that are absent on a frame."""
    return [one for one, stretches in absent.items() if any(first <= index <= last for first, last in stretches)]


@dataclass
class VideoState:
    """One video between two frames.

    Attributes:
        clock: Frames since the first mask, and when memory was last written.
        object_ids: The value in the mask of the object in each slot.
        memory: What is remembered; None until the first object is given.
        objects: What the network carries for each object; None until then.
        frame_size: (H, W) that every frame must have; None before the first.
        ended: Whether the last frame was stepped.
        frozen: Whether memory is only read.
        recalled: A memory as it was exported, and sums of the object state below `objects.`, to be taken over with the
            first frame, when sizes are known.
        removed: Slots of objects removed before that, one after the other.
        absent: Where objects are absent.
        drift: What its objects have looked like so far.
        key: Query keys (1, C_k, h, w) of the frame before; None until an object is given.
    """

    clock: Clock
    object_ids: list[int] = field(default_factory=list)
    memory: Memory | None = None
    objects: ObjectState | None = None
    frame_size: tuple[int, int] | None = None
    ended: bool = False
    frozen: bool = False
    recalled: dict[str, Tensor] = field(default_factory=dict)
    removed: list[int] = field(default_factory=list)
    absent: Absences = field(default_factory=dict)
    drift: DriftWatch = field(default_factory=DriftWatch)
    key: Tensor | None = None

    def detach(self) -> None:
        """Cut the autograd graph that memory and object state carry into the next frame."""
        if self.memory is not None:
            self.memory.detach()
        if self.objects is not None:
            self.objects = {name: x.detach() for name, x in self.objects.items()}
