"""Prefetch frames in a background thread while the network processes earlier ones."""

from collections import deque
from collections.abc import Generator, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

T = TypeVar("T")
END: Any = object()
DEPTH = 4  # items to read ahead


def read_ahead(source: Iterable[T]) -> Generator[tuple[T, bool], None, None]:
    """Iterate over `source` in a background thread that reads at most DEPTH items ahead.

    An exception raised by `source` is re-raised at the position of the item that failed. Close the generator
    to stop the thread early.

    Yields:
        (item, last): `last` is True for the final item. To know this, each item is yielded only after the next one
        has been read.
    """
    iterator = iter(source)
    with ThreadPoolExecutor(1, "read ahead") as thread:
        ahead = deque(thread.submit(next, iterator, END) for _ in range(DEPTH))
        try:
            item = ahead.popleft().result()
            while item is not END:
                ahead.append(thread.submit(next, iterator, END))
                following = ahead.popleft()
                # If reading the next item failed, this item is not the last one: the source has more.
                yield item, following.exception() is None and following.result() is END
                item = following.result()
        finally:
            thread.shutdown(wait=False, cancel_futures=True)
