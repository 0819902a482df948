"""All that one video knows. A new video is a new value; there is nothing to clear."""

from dataclasses import dataclass, field

from torch import Tensor

from ..drift import DriftWatch
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
        drift: What its objects have looked like so far.
        key: Query keys (1, C_k, h, w) of the frame before; None until an object is given.
    """

    clock: Clock
    object_ids: list[int] = field(default_factory=list)
    memory: Memory | None = None
    objects: ObjectState | None = None
    frame_size: tuple[int, int] | None = None
    ended: bool = False
    drift: DriftWatch = field(default_factory=DriftWatch)
    key: Tensor | None = None

    def detach(self) -> None:
        """Cut the autograd graph that memory and object state carry into the next frame."""
        if self.memory is not None:
            self.memory.detach()
        if self.objects is not None:
            self.objects = {name: x.detach() for name, x in self.objects.items()}
