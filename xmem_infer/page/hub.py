"""Broadcast events from any thread to all open tabs."""

import asyncio
import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

MAX_WAITING = 2000  # events queued for one tab before it is disconnected


class Tab:
    """One connected browser tab, with the queue of events not yet sent to it."""

    def __init__(self, hub: "Hub") -> None:
        self._hub = hub
        self._queue: asyncio.Queue[str | None] = asyncio.Queue()

    def publish(self, event: dict[str, Any]) -> None:
        """Send an event to this tab only. Safe to call from any thread."""
        text = json.dumps(event)
        self._hub.loop.call_soon_threadsafe(self.put, text)

    def put(self, text: str) -> None:
        """Queue an event; a tab that is too far behind is disconnected. Call only in the event loop's thread."""
        if self._queue.qsize() < MAX_WAITING:
            self._queue.put_nowait(text)
        elif self._queue.qsize() == MAX_WAITING:
            self._queue.put_nowait(None)

    async def next(self) -> str | None:
        """Wait for the next event, as JSON text; None means that the tab was too slow and must be disconnected."""
        return await self._queue.get()


class Hub:
    """All connected tabs of a server."""

    loop: asyncio.AbstractEventLoop

    def __init__(self) -> None:
        self._tabs: set[Tab] = set()

    def start(self, loop: asyncio.AbstractEventLoop) -> None:
        """Set the event loop of the server. Events published earlier are dropped."""
        self.loop = loop

    def publish(self, event: dict[str, Any], exclude: Tab | None = None) -> None:
        """Send an event to all tabs, except `exclude`. Safe to call from any thread, which may change `event` later."""
        if not hasattr(self, "loop") or self.loop.is_closed():
            return
        text = json.dumps(event)

        def put() -> None:
            for tab in self._tabs - {exclude}:
                tab.put(text)

        self.loop.call_soon_threadsafe(put)

    @contextmanager
    def connected(self) -> Iterator[Tab]:
        """Register a new tab for the duration of the block. Call only in the event loop's thread."""
        tab = Tab(self)
        self._tabs.add(tab)
        try:
            yield tab
        finally:
            self._tabs.discard(tab)
