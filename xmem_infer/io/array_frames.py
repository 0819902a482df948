"""Frames given as arrays, tensors or PIL images in memory."""

from collections.abc import Iterable, Iterator, Sequence, Sized
from itertools import chain
from typing import Any

import numpy as np
from PIL import Image

from ..errors import UsageError, VideoError
from ..types import Frame
from .images import host_array, size_words
from .listing import numbered_name


class ArrayFrames:
    """A video given as an iterable of images of equal size: (H, W, 3) uint8 RGB arrays, tensors or PIL images.

    The first image is read at construction; a generator is then consumed lazily. Arrays are copied, so the
    caller may reuse one buffer for all frames.

    Raises:
        UsageError: The iterable is empty, or an element is not such an image.
        VideoError: A later image differs in size (during iteration).
    """

    fps: float | None = None
    stems: list[str] | None = None
    incomplete = False

    def __init__(self, images: Iterable[Any], name: str = "array"):
        iterator = iter(images)
        first = next(iterator, None)
        if first is None:
            raise UsageError("no frames were given: the sequence of images is empty")
        self._images = chain([first], iterator) if iterator is images else images
        self.name = name
        self.size: tuple[int, int] = self._checked(0, first).shape[:2]
        self.count: int | None = len(images) if isinstance(images, Sized) else None
        self.warnings: list[str] = []

    def __len__(self) -> int:
        if self.count is None:
            raise TypeError(f"{self.name}: how many frames there are is not known before the last one")
        return self.count

    def __iter__(self) -> Iterator[Frame]:
        for index, image in enumerate(self._images):
            frame = Frame(index, numbered_name(index, self.count), self._checked(index, image).copy())
            if frame.image.shape[:2] != self.size:
                raise VideoError(
                    f"{self.name}: frame {index} is {size_words(frame.image.shape)}, "
                    f"the ones before are {size_words(self.size)}; a video needs one size"
                )
            yield frame

    def __getitem__(self, index: int) -> Frame:
        if not isinstance(self._images, Sequence | np.ndarray):
            raise UsageError(f"{self.name}: frames of an iterator come once and in order; give them as a list")
        if not 0 <= index < len(self):
            raise IndexError(f"{self.name} has no frame {index}: it has {len(self)}")
        return Frame(index, numbered_name(index, self.count), self._checked(index, self._images[index]).copy())

    def _checked(self, index: int, image: object) -> np.ndarray:
        array = host_array(image.convert("RGB") if isinstance(image, Image.Image) else image)
        if array.ndim == 3 and array.shape[0] == 3 and array.shape[2] != 3 and hasattr(image, "detach"):
            array = array.transpose(1, 2, 0)  # tensors are usually channels first
        if array.ndim != 3 or array.shape[2] != 3 or array.dtype != np.uint8 or array.size == 0:
            raise UsageError(
                f"{self.name}: frame {index} must be an array of shape (height, width, 3) and type uint8 (RGB), "
                f"got shape {array.shape} and type {array.dtype}"
            )
        return array
