"""The state of one video between two frames. Each video gets its own `VideoState`, so nothing has to be reset."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from torch import Tensor

from ..memory.protocol import Memory
from ..model.family import ObjectState
from .drift import DriftWatch
from .schedule import Clock

Absences = Mapping[int, Sequence[tuple[int, int]]]
"""By object id: (first, last) frame indices, both included, of the ranges in which the object is absent."""


def absent_ids(absent: Absences, index: int) -> list[int]:
    """Return the ids of the objects that are absent on frame `index`."""
    return [object_id for object_id, ranges in absent.items() if any(first <= index <= last for first, last in ranges)]


@dataclass
class VideoState:
    """State of one video between two frames.

    Attributes:
        clock: Counters of the frames since the first mask.
        object_ids: Object id (the value in masks) of each slot.
        memory: Working and long-term memory; None until the first object is given.
        objects: State that the network carries for each object; None until the first object is given.
        frame_size: (H, W) that every frame must have; None before the first frame.
        ended: Whether the last frame has been processed.
        frozen: Whether memory is read-only.
        recalled: Tensors of an exported memory, and under `objects.` the summed entries of the object state. They are
            loaded on the first frame, when sizes are known.
        removed: Slots of objects removed before `recalled` was loaded, in order of removal.
        absent: Frames on which objects are absent.
        drift: Drift detector with the history of the objects.
        key: Query keys (1, C_k, h, w) of the previous frame; None until an object is given.
    """

    clock: Clock = field(default_factory=Clock)
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
        """Detach memory and object state from the autograd graph, so that it does not grow from frame to frame."""
        if self.memory is not None:
            self.memory.detach()
        if self.objects is not None:
            self.objects = {name: x.detach() for name, x in self.objects.items()}
