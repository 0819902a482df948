"""Registries of extension points: memories, network families, backends, executors, outputs, layouts, metrics, ..."""

import difflib
from collections.abc import Callable
from typing import Generic, TypeVar

from .errors import UsageError

T = TypeVar("T")


class Registry(Generic[T]):
    """Implementations of one protocol by name.

    An implementation registers itself where it is defined, and is selected by its name in the settings:

        @BACKENDS.register("mine")
        def mine(network, device, precision): ...

    Args:
        what: Noun for error messages, such as "backend".
        key: The setting that selects an entry, such as "runtime.variant".
    """

    def __init__(self, what: str, key: str):
        self.what = what
        self.key = key
        self._entries: dict[str, T] = {}

    def register(self, name: str) -> Callable[[T], T]:
        """Return a decorator that registers a class, function or object as `name`, replacing an earlier entry."""

        def enter(entry: T) -> T:
            self._entries[name] = entry
            return entry

        return enter

    def names(self) -> list[str]:
        """Return the names in the order of registration."""
        return list(self._entries)

    def __getitem__(self, name: str) -> T:
        """Return the entry of this name.

        Raises:
            UsageError: There is no such entry; the message contains the setting, the closest name and all names.
        """
        if name in self._entries:
            return self._entries[name]
        near = difflib.get_close_matches(name, self._entries, n=1)
        hint = f"; did you mean {near[0]}?" if near else "."
        raise UsageError(f"{self.key}={name}: there is no such {self.what}{hint} Known: {', '.join(self._entries)}")
