"""What happens to a frame that cannot be decoded, the same for folders and videos."""

from ..config import OnCorrupt
from ..errors import VideoError
from ..types import Frame


class CorruptPolicy:
    """Stop at a corrupt frame, or repeat the picture before it and say so in `warnings`, the source's own list.

    One object per pass over the video, which notes each frame that could be read in `last_readable`.
    """

    def __init__(self, video: str, on_corrupt: OnCorrupt, warnings: list[str]):
        self._video, self._on_corrupt, self._warnings = video, on_corrupt, warnings
        self.last_readable: Frame | None = None

    def corrupt(self, frame: str, index: int, name: str, reason: str, time_s: float | None = None) -> Frame:
        """A frame to stand in; raises VideoError instead where asked to, or where there is none before it.

        frame: what the user knows it by. reason: the rest of a sentence that begins with the frame.
        """
        if self.last_readable is None or self._on_corrupt is OnCorrupt.fail:
            raise corrupt_error(self._video, frame, reason, is_first=self.last_readable is None)
        self._warnings.append(f"{frame} {reason}; the picture of frame {self.last_readable.name} stands in for it")
        return Frame(index, name, self.last_readable.image.copy(), time_s, corrupt=reason)


def corrupt_error(video: str, frame: str, reason: str, is_first: bool) -> VideoError:
    """The error for a frame that cannot be decoded, and the way round it where there is one."""
    if is_first:
        return VideoError(f"{video}: {frame} {reason}; without a first frame there is nothing to segment")
    return VideoError(f"{video}: {frame} {reason}. To repeat the frame before it and go on, set data.on_corrupt=warn")
