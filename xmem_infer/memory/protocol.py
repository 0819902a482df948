"""The interface between the engine and a memory, and the registry of memories."""

from collections.abc import Callable, Mapping
from typing import Protocol, runtime_checkable

from torch import Tensor

from ..config import MemoryConfig
from ..model.family import Features
from ..registry import Registry


class Memory(Protocol):
    """Keys and values of one video's memory frames. Objects are in slot order.

    The state that the network carries from frame to frame for each object is not part of it.
    """

    @property
    def objects(self) -> int:
        """Number of objects with values in memory."""

    @property
    def working_tokens(self) -> int:
        """Number of tokens in working memory, permanent ones included."""

    @property
    def long_term_tokens(self) -> int:
        """Number of tokens in long-term memory."""

    def read(self, query: Features) -> list[Tensor]:
        """Return the readouts for a query frame: (1, objects, C_v, h, w) for each bucket, in slot order."""

    def undo_read(self) -> None:
        """Undo the effects of the last `read`, because its frame failed."""

    def add(self, frame: Features, value: Tensor, permanent: bool = False) -> None:
        """Add a memory frame, consolidating if necessary; if any of this fails, the memory is unchanged.

        Args:
            frame: Features of the frame, which hold its keys.
            value: (1, O, C_v, h, w) in slot order; objects beyond the known ones are new.
            permanent: Whether the frame is never evicted or consolidated.
        """

    def remove(self, slot: int) -> None:
        """Remove the object in this slot; later objects move up by one slot."""

    def detach(self) -> None:
        """Detach stored tensors from the autograd graph, so that it does not grow from frame to frame."""


@runtime_checkable
class StorableMemory(Memory, Protocol):
    """A memory that can be saved to a file and loaded again."""

    def exported(self) -> dict[str, Tensor]:
        """Return the whole content as tensors by name."""

    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        """Load what another memory `exported`; this memory must be empty and for the same frame size.

        Raises:
            UsageError: The tensors do not fit into the capacity of this memory.
        """


MEMORIES: Registry[Callable[[MemoryConfig, Features], Memory]] = Registry("memory", "memory.kind")
"""Constructors of empty memories, called with the features of the video's first memory frame."""
