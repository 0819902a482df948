"""Frames of the video as JPEG, decoded on demand; never more of them in memory than a fixed number of bytes."""

import io
import threading
from collections import OrderedDict

import numpy as np
from PIL import Image

from ..io.frames import IndexedFrames
from ..types import Frame

KEPT_BYTES = 64 << 20


class Pictures:
    """Encoded pictures by frame and width, the least recently used ones dropped. For any number of threads."""

    def __init__(self, source: IndexedFrames) -> None:
        self.source = source
        self._lock = threading.RLock()
        self._kept: OrderedDict[tuple[int, int], bytes] = OrderedDict()
        self._bytes = 0
        self._last: Frame | None = None

    def frame(self, index: int) -> Frame:
        """The frame itself. Raises IndexError beyond the end, VideoError where it cannot be read."""
        with self._lock:
            if self._last is None or self._last.index != index:
                self._last = self.source[index]
            return self._last

    def jpeg(self, index: int, width: int) -> bytes:
        """The frame scaled down to `width` px; a smaller one stays as it is. Raises as `frame`."""
        with self._lock:
            key = (index, min(width, self.source.size[1]))
            if key in self._kept:
                self._kept.move_to_end(key)
                return self._kept[key]
            encoded = self._kept[key] = _encode(self.frame(index).image, key[1])
            self._bytes += len(encoded)
            while self._bytes > KEPT_BYTES and len(self._kept) > 1:
                self._bytes -= len(self._kept.popitem(last=False)[1])
            return encoded


def _encode(image: np.ndarray, width: int) -> bytes:
    picture = Image.fromarray(image)
    if width < picture.width:
        height = max(1, round(picture.height * width / picture.width))
        picture = picture.resize((width, height), Image.Resampling.BILINEAR, reducing_gap=2.0)
    jpeg = io.BytesIO()
    picture.save(jpeg, "JPEG", quality=88)
    return jpeg.getvalue()
