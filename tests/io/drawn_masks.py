"""Label images that are drawn and saved for the tests of masks, and the check that a file is refused."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw

from xmem_infer.errors import UsageError
from xmem_infer.io.masks import read_mask
from xmem_infer.io.palette import davis_palette

LIMIT = 10**6
DAVIS = np.frombuffer(davis_palette(), np.uint8).reshape(256, 3)


def blobs(*labels: int, size: tuple[int, int] = (120, 160)) -> np.ndarray:
    """Return a label image with one ellipse per label, some of them overlapping."""
    image = Image.new("L", size[::-1])
    draw = ImageDraw.Draw(image)
    for i, label in enumerate(labels):
        left, top = 15 + 37 * i % (size[1] - 70), 11 + 23 * i % (size[0] - 60)
        draw.ellipse((left, top, left + 61, top + 44), fill=label)
    return np.array(image)


def save(path: Path, image: Image.Image | np.ndarray, **options) -> Path:
    (image if isinstance(image, Image.Image) else Image.fromarray(image)).save(path, **options)
    return path


def refused(path: Path, match: str) -> str:
    with pytest.raises(UsageError, match=match) as caught:
        read_mask(path, LIMIT)
    assert str(path) in str(caught.value)
    return str(caught.value)
