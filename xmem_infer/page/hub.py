"""Broadcast events from any thread to all open tabs."""

import asyncio
import json
from typing import Any

MAX_WAITING = 2000  # events queued for one tab before it is disconnected

# The events that are not yet sent to one connected tab, as JSON; None: it is too slow and must be disconnected.
Tab = asyncio.Queue[str | None]


class Hub:
    """All connected tabs of a server.

    Attributes:
        tabs: The tabs; to be changed in the thread of the event loop only.
        loop: The event loop of the server; events published before it is set are dropped.
    """

    loop: asyncio.AbstractEventLoop

    def __init__(self) -> None:
        self.tabs: set[Tab] = set()

    def publish(self, event: dict[str, Any], only: Tab | None = None, exclude: Tab | None = None) -> None:
        """Send an event to all tabs, to the tab `only`, or to all except `exclude`.

        Safe to call from any thread, which may change `event` later.
        """
        if hasattr(self, "loop") and not self.loop.is_closed():
            self.loop.call_soon_threadsafe(self._put, json.dumps(event), only, exclude)

    def _put(self, text: str, only: Tab | None, exclude: Tab | None) -> None:
        for tab in self.tabs - {exclude} if only is None else {only}:
            if tab.qsize() < MAX_WAITING:
                tab.put_nowait(text)
            elif tab.qsize() == MAX_WAITING:
                tab.put_nowait(None)
