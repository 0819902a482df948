"""Frames of the video as JPEG, encoded on demand and cached within a fixed number of bytes."""

import io
import threading
from collections import OrderedDict

import numpy as np
from PIL import Image

from ..io.frames import IndexedFrames
from ..types import Frame

CACHE_BYTES = 64 << 20


class Pictures:
    """Thread-safe LRU cache of the JPEG images of a video, by frame index and width."""

    def __init__(self, source: IndexedFrames) -> None:
        self.source = source
        self._lock = threading.RLock()
        self._cache: OrderedDict[tuple[int, int], bytes] = OrderedDict()
        self._bytes = 0
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
        with self._lock:
            key = (index, min(width, self.source.size[1]))
            if key in self._cache:
                self._cache.move_to_end(key)
                return self._cache[key]
            encoded = self._cache[key] = _encode(self.frame(index).image, key[1])
            self._bytes += len(encoded)
            while self._bytes > CACHE_BYTES and len(self._cache) > 1:
                self._bytes -= len(self._cache.popitem(last=False)[1])
            return encoded


def _encode(image: np.ndarray, width: int) -> bytes:
    picture = Image.fromarray(image)
    if width < picture.width:
        height = max(1, round(picture.height * width / picture.width))
        picture = picture.resize((width, height), Image.Resampling.BILINEAR, reducing_gap=2.0)
    jpeg = io.BytesIO()
    picture.save(jpeg, "JPEG", quality=88)
    return jpeg.getvalue()
