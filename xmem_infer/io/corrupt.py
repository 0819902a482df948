"""Handling of frames that cannot be decoded, shared by image folders and video files."""

from dataclasses import dataclass

from ..config import OnCorrupt
from ..errors import VideoError
from ..types import Frame


@dataclass
class CorruptPolicy:
    """Raises an error for a corrupt frame, or replaces it with the last readable frame and adds to `warnings`.

    Create one policy per iteration over the video and set `last_readable` after each frame that could be decoded.
    """

    video: str
    on_corrupt: OnCorrupt
    warnings: list[str]
    last_readable: Frame | None = None

    def corrupt(self, frame: str, index: int, name: str, reason: str, time_s: float | None = None) -> Frame:
        """Return the replacement for a corrupt frame; time_s: its presentation time, if known.

        The message is `frame` (what it is called, for example its path), continued by `reason`. Raises VideoError if
        `on_corrupt` is `fail`, or if there is no readable frame before this one.
        """
        if self.last_readable is None or self.on_corrupt is OnCorrupt.fail:
            raise corrupt_error(self.video, frame, reason, is_first=self.last_readable is None)
        self.warnings.append(f"{frame} {reason}; it is replaced by frame {self.last_readable.name}")
        return Frame(index, name, self.last_readable.image.copy(), time_s, corrupt=reason)


def corrupt_error(video: str, frame: str, reason: str, is_first: bool) -> VideoError:
    """Return the error for a frame that cannot be decoded, with a remedy if there is one."""
    if is_first:
        return VideoError(f"{video}: {frame} {reason}; without a first frame there is nothing to segment")
    return VideoError(f"{video}: {frame} {reason}. To repeat the frame before it and go on, set data.on_corrupt=warn")
