"""What the engine asks of a memory, and how memories are found."""

from collections.abc import Callable, Mapping
from typing import Protocol, runtime_checkable

from torch import Tensor

from ..config import MemoryConfig
from ..model.family import Features
from ..registry import Registry


class Memory(Protocol):
    """What is remembered of one video's objects, in slot order, besides the state that the network carries."""

    @property
    def objects(self) -> int:
        """Objects it has values of."""

    @property
    def working_tokens(self) -> int:
        """Tokens in working memory, permanent ones included."""

    @property
    def long_term_tokens(self) -> int:
        """Tokens in long-term memory."""

    def read(self, query: Features) -> list[Tensor]:
        """Readouts for a frame: (1, objects, C_v, h, w) of each bucket, in slot order."""

    def undo_read(self) -> None:
        """Forget that the last `read` happened: its frame failed."""

    def add(self, frame: Features, value: Tensor, permanent: bool = False) -> None:
        """Remember a frame; where that fails, also in a consolidation, the memory is as it was.

        Args:
            frame: Its keys.
            value: (1, O, C_v, h, w) in slot order; objects beyond the known ones are new.
            permanent: Whether it is never evicted nor consolidated.
        """

    def remove(self, slot: int) -> None:
        """Forget the object in this slot; later slots move up."""

    def detach(self) -> None:
        """Cut the autograd graph that stored numbers carry from frame to frame."""


@runtime_checkable
class StorableMemory(Memory, Protocol):
    """A memory that can be kept in a file."""

    def exported(self) -> dict[str, Tensor]:
        """All that it remembers, by name, to be stored."""

    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        """Remember what another memory `exported`; this one must be empty and of the same frame size.

        Raises:
            UsageError: It has no room for that.
        """


MEMORIES: Registry[Callable[[MemoryConfig, Features], Memory]] = Registry("memory", "memory.kind")
"""Makers of empty memories; the features are those of the video's first remembered frame."""
