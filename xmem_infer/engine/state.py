"""All that one video knows. A new video is a new value; there is nothing to clear."""

from dataclasses import dataclass, field

import torch

from ..memory.protocol import Memory
from ..model.family import ObjectState
from .schedule import Clock


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
    """

    clock: Clock
    object_ids: list[int] = field(default_factory=list)
    memory: Memory | None = None
    objects: ObjectState | None = None
    frame_size: tuple[int, int] | None = None
    ended: bool = False

    def detach(self) -> None:
        """Cut the autograd graph that memory and object state carry into the next frame."""
        if self.memory is not None:
            self.memory.detach()
        if self.objects is not None:
            self.objects = {name: x.detach() for name, x in self.objects.items()}


def with_objects(state: ObjectState, count: int) -> ObjectState:
    """The state grown to `count` objects, new ones at zero."""
    grown = {}
    for name, x in state.items():
        zeros = x.new_zeros(x.shape[0], count - x.shape[1], *x.shape[2:])
        grown[name] = torch.cat([x, zeros], 1) if zeros.shape[1] else x
    return grown


def without_slot(state: ObjectState, slot: int) -> ObjectState:
    """The state without the object in this slot; later slots move up."""
    return {name: torch.cat([x[:, :slot], x[:, slot + 1 :]], 1) for name, x in state.items()}
