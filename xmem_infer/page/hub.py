"""Broadcast events from any thread to all open tabs."""

import asyncio
import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

MAX_WAITING = 2000  # events queued for one tab before it is disconnected

# The events that are not yet sent to one connected tab, as JSON; None: it is too slow and must be disconnected.
Tab = asyncio.Queue[str | None]


class Hub:
    """All connected tabs of a server."""

    loop: asyncio.AbstractEventLoop

    def __init__(self) -> None:
        self._tabs: set[Tab] = set()

    def start(self, loop: asyncio.AbstractEventLoop) -> None:
        """Set the event loop of the server. Events published earlier are dropped."""
        self.loop = loop

    def publish(self, event: dict[str, Any], only: Tab | None = None, exclude: Tab | None = None) -> None:
        """Send an event to all tabs, to the tab `only`, or to all except `exclude`.

        Safe to call from any thread, which may change `event` later.
        """
        if hasattr(self, "loop") and not self.loop.is_closed():
            self.loop.call_soon_threadsafe(self._put, json.dumps(event), only, exclude)

    def _put(self, text: str, only: Tab | None, exclude: Tab | None) -> None:
        for tab in self._tabs - {exclude} if only is None else {only}:
            if tab.qsize() < MAX_WAITING:
                tab.put_nowait(text)
            elif tab.qsize() == MAX_WAITING:
                tab.put_nowait(None)

    @contextmanager
    def connected(self) -> Iterator[Tab]:
        """Register a new tab for the duration of the block. Call only in the event loop's thread."""
        tab = Tab()
        self._tabs.add(tab)
        try:
            yield tab
        finally:
            self._tabs.discard(tab)
