"""Frames of the video for display, decoded and encoded as JPEG on demand."""

import io
import threading

from PIL import Image

from ..io.frames import IndexedFrames
from ..types import Frame


class Pictures:
    """Thread-safe access to the frames of a video. The last one is kept, because it is often needed again."""

    def __init__(self, source: IndexedFrames) -> None:
        self.source = source
        self._lock = threading.Lock()
        self._last: Frame | None = None

    def frame(self, index: int) -> Frame:
        """Decode a frame.

        Raises:
            IndexError: The frame is beyond the end of the video.
            VideoError: The frame cannot be decoded.
        """
        with self._lock:
            if self._last is None or self._last.index != index:
                self._last = self.source[index]
            return self._last

    def jpeg(self, index: int, width: int) -> bytes:
        """Return a frame as JPEG, downscaled to `width` px unless it is smaller already. Raises the same as `frame`."""
        picture = Image.fromarray(self.frame(index).image)
        if width < picture.width:
            height = max(1, round(picture.height * width / picture.width))
            picture = picture.resize((width, height), Image.Resampling.BILINEAR, reducing_gap=2.0)
        jpeg = io.BytesIO()
        picture.save(jpeg, "JPEG", quality=88)
        return jpeg.getvalue()
