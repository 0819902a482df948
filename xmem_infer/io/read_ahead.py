"""Decoding frames in a thread while the network works on earlier ones."""

from collections import deque
from collections.abc import Generator, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

T = TypeVar("T")
END: Any = object()


def read_ahead(source: Iterable[T], depth: int = 4) -> Generator[tuple[T, bool], None, None]:
    """Iterate over `source` in a background thread, at most `depth` items ahead; to be closed.

    Yields (item, last): `last` tells whether the source ends here, which takes a look at the item after it.
    An error of the source is raised where its item would have come.
    """
    iterator = iter(source)
    with ThreadPoolExecutor(1, "read ahead") as thread:
        ahead = deque(thread.submit(next, iterator, END) for _ in range(depth))
        try:
            item = ahead.popleft().result()
            while item is not END:
                ahead.append(thread.submit(next, iterator, END))
                following = ahead.popleft()
                # The frame before a failing one is not the last: the video goes on, only not for us.
                yield item, following.exception() is None and following.result() is END
                item = following.result()
        finally:
            thread.shutdown(wait=False, cancel_futures=True)
