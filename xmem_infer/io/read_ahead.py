"""Decoding frames in a thread while the network works on earlier ones."""

import queue
import threading
from collections.abc import Iterable, Iterator
from typing import Generic, TypeVar

T = TypeVar("T")


class ReadAhead(Generic[T]):
    """Iterate over `source` in a background thread, at most `depth` items ahead; closes with its context.

    Yields (item, last): `last` tells whether the source ends here, which takes a look at the item after it.
    An error of the source is raised where its item would have come.
    """

    def __init__(self, source: Iterable[T], depth: int = 4):
        self._items: queue.Queue[tuple[str, T | BaseException | None]] = queue.Queue(maxsize=depth)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._read, args=(source,), name="read ahead", daemon=True)

    def __enter__(self) -> Iterator[tuple[T, bool]]:
        self._thread.start()
        return self._iterate()

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _read(self, source: Iterable[T]) -> None:
        try:
            for item in source:
                if not self._put(("item", item)):
                    return
            self._put(("end", None))
        except BaseException as error:
            self._put(("error", error))

    def _put(self, entry: tuple[str, T | BaseException | None]) -> bool:
        while not self._stop.is_set():
            try:
                self._items.put(entry, timeout=0.1)
                return True
            except queue.Full:
                continue
        return False

    def _iterate(self) -> Iterator[tuple[T, bool]]:
        kind, item = self._items.get()
        while kind == "item":
            following = self._items.get()
            # The frame before a failing one is not the last: the video goes on, only not for us.
            yield item, following[0] == "end"  # type: ignore[misc]
            kind, item = following
        if isinstance(item, BaseException):
            raise item
