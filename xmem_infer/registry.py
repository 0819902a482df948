"""Choices that others can add to: memories, network families, backends, executors, outputs, layouts, metrics."""

import difflib
from collections.abc import Callable
from typing import Generic, TypeVar

from .errors import UsageError

T = TypeVar("T")


class Registry(Generic[T]):
    """Named implementations of one protocol.

    An extension registers itself where it is defined, and is chosen by its name in the settings:

        @BACKENDS.register("mine")
        def mine(network, device, precision): ...

    Args:
        what: Noun for messages, such as "backend".
        key: The setting that chooses among the entries, such as "runtime.variant".
    """

    def __init__(self, what: str, key: str):
        self.what = what
        self.key = key
        self._entries: dict[str, T] = {}

    def register(self, name: str) -> Callable[[T], T]:
        """Decorator that enters a class, function or object under `name`; a later entry replaces an earlier one."""

        def enter(entry: T) -> T:
            self._entries[name] = entry
            return entry

        return enter

    def names(self) -> list[str]:
        """The names in the order of registration."""
        return list(self._entries)

    def __getitem__(self, name: str) -> T:
        """The entry of this name.

        Raises:
            UsageError: There is none; the message has the setting, the nearest name and all names.
        """
        if name in self._entries:
            return self._entries[name]
        near = difflib.get_close_matches(name, self._entries, n=1)
        hint = f"; did you mean {near[0]}?" if near else "."
        raise UsageError(f"{self.key}={name}: there is no such {self.what}{hint} Known: {', '.join(self._entries)}")
