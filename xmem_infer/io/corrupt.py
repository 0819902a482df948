"""Handling of frames that cannot be decoded, shared by image folders and video files."""

from ..config import OnCorrupt
from ..errors import VideoError
from ..types import Frame


class CorruptPolicy:
    """Raise an error for a corrupt frame, or replace it with the last readable frame and add a warning.

    Create one policy per iteration over the video and set `last_readable` after each frame that could be decoded.
    Warnings are appended to the list `warnings`, which belongs to the frame source.
    """

    def __init__(self, video: str, on_corrupt: OnCorrupt, warnings: list[str]):
        self._video, self._on_corrupt, self._warnings = video, on_corrupt, warnings
        self.last_readable: Frame | None = None

    def corrupt(self, frame: str, index: int, name: str, reason: str, time_s: float | None = None) -> Frame:
        """Return the replacement for a corrupt frame.

        Args:
            frame: What messages call the frame, for example its path.
            index: Index of the frame.
            name: Name of the frame.
            reason: What is wrong; it continues a sentence that starts with `frame`.
            time_s: Presentation time, if known.

        Raises:
            VideoError: `on_corrupt` is `fail`, or there is no readable frame before this one.
        """
        if self.last_readable is None or self._on_corrupt is OnCorrupt.fail:
            raise corrupt_error(self._video, frame, reason, is_first=self.last_readable is None)
        self._warnings.append(f"{frame} {reason}; it is replaced by frame {self.last_readable.name}")
        return Frame(index, name, self.last_readable.image.copy(), time_s, corrupt=reason)


def corrupt_error(video: str, frame: str, reason: str, is_first: bool) -> VideoError:
    """Return the error for a frame that cannot be decoded, with a remedy if there is one."""
    if is_first:
        return VideoError(f"{video}: {frame} {reason}; without a first frame there is nothing to segment")
    return VideoError(f"{video}: {frame} {reason}. To repeat the frame before it and go on, set data.on_corrupt=warn")
