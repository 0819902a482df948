"""All that one video knows. A new video is a new value; there is nothing to clear."""

from dataclasses import dataclass, field

from torch import Tensor

from ..memory.manager import Memory
from .schedule import Clock


@dataclass
class VideoState:
    """One video between two frames.

    labels: the value in the mask of the object in each slot. sensory: (1, O, C_h, h, w). frame_size: (H, W)
    that every frame must have. memory and sensory are None until the first object is given.
    """

    clock: Clock
    labels: list[int] = field(default_factory=list)
    memory: Memory | None = None
    sensory: Tensor | None = None
    frame_size: tuple[int, int] | None = None

    def detach(self) -> None:
        """Cut the autograd graph that memory and sensory state carry into the next frame."""
        if self.memory is not None:
            self.memory.detach()
        if self.sensory is not None:
            self.sensory = self.sensory.detach()
