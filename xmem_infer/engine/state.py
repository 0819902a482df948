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
    """State of one video between two frames."""

    clock: Clock = field(default_factory=Clock)  # counters of the frames since the first mask
    object_ids: list[int] = field(default_factory=list)  # object id (the value in masks) of each slot
    memory: Memory | None = None  # working and long-term memory; None until the first object is given
    objects: ObjectState | None = None  # what the network carries for each object; None until the first is given
    frame_size: tuple[int, int] | None = None  # (H, W) that every frame must have; None before the first frame
    ended: bool = False  # whether the last frame has been processed
    frozen: bool = False  # whether memory is read-only
    # Tensors of an exported memory and, under `objects.`, the summed entries of the object state. They are loaded on
    # the first frame, when sizes are known. `removed`: slots of objects removed before that, in order of removal.
    recalled: dict[str, Tensor] = field(default_factory=dict)
    removed: list[int] = field(default_factory=list)
    absent: Absences = field(default_factory=dict)  # frames on which objects are absent
    drift: DriftWatch = field(default_factory=DriftWatch)  # drift detector with the history of the objects
    key: Tensor | None = None  # query keys (1, C_k, h, w) of the previous frame; None until an object is given

    def detach(self) -> None:
        """Detach memory and object state from the autograd graph, so that it does not grow from frame to frame."""
        if self.memory is not None:
            self.memory.detach()
        if self.objects is not None:
            self.objects = {name: x.detach() for name, x in self.objects.items()}
