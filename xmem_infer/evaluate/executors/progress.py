"""One bar for a batch that several workers do: videos, and what happens among them."""

import logging
from types import TracebackType

from tqdm import tqdm

tables = logging.getLogger("xmem_infer.tables")  # what belongs on standard output


class Progress:
    """Counts of a batch, shown on a terminal."""

    def __init__(self, videos: int):
        self.running = self.frames = self.failed = self.retried = 0
        self._bar = tqdm(total=videos, desc="videos", unit="video", disable=None)  # None: silent off a terminal

    def finished(self, failed: bool) -> None:
        """Count a video that is done with."""
        self.failed += failed
        self._bar.update()

    def show(self) -> None:
        """Bring the line up to date, at the bar's own pace."""
        counts = {"running": self.running, "frames": self.frames, "failed": self.failed, "retried": self.retried}
        self._bar.set_postfix({name: count for name, count in counts.items() if count}, refresh=False)
        self._bar.update(0)

    def __enter__(self) -> "Progress":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.close()
