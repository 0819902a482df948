"""Events from any thread to every tab that is open."""

import asyncio
import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

MAX_WAITING = 2000  # events that a tab may be behind


class Tab:
    """One connected page: what it still has to be told, in order."""

    def __init__(self, hub: "Hub") -> None:
        self._hub = hub
        self._queue: asyncio.Queue[str | None] = asyncio.Queue()

    def publish(self, event: dict[str, Any]) -> None:
        """Tell this tab alone; from any thread."""
        text = json.dumps(event)
        self._hub.loop.call_soon_threadsafe(self.put, text)

    def put(self, text: str) -> None:
        """In the loop's thread; a tab that is too far behind is told to go."""
        if self._queue.qsize() < MAX_WAITING:
            self._queue.put_nowait(text)
        elif self._queue.qsize() == MAX_WAITING:
            self._queue.put_nowait(None)

    async def next(self) -> str | None:
        """The next event as text; None: it was too slow."""
        return await self._queue.get()


class Hub:
    """All tabs of a server."""

    loop: asyncio.AbstractEventLoop

    def __init__(self) -> None:
        self._tabs: set[Tab] = set()

    def start(self, loop: asyncio.AbstractEventLoop) -> None:
        """Events are told from now on, those of before to nobody."""
        self.loop = loop

    def publish(self, event: dict[str, Any], but: Tab | None = None) -> None:
        """Tell every tab, `but` one; from any thread, which may go on changing what it has published."""
        if not hasattr(self, "loop") or self.loop.is_closed():
            return
        text = json.dumps(event)

        def put() -> None:
            for tab in self._tabs - {but}:
                tab.put(text)

        self.loop.call_soon_threadsafe(put)

    @contextmanager
    def joined(self) -> Iterator[Tab]:
        """A tab, for as long as it is connected; in the loop's thread."""
        tab = Tab(self)
        self._tabs.add(tab)
        try:
            yield tab
        finally:
            self._tabs.discard(tab)
