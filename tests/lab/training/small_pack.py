"""A training pack in the real layout, small and made up: flat regions on noise, and two clips of a moving disk."""

import io
import tarfile

import numpy as np
from PIL import Image


def write_pack(path, frames=8):
    rng = np.random.default_rng(7)
    with tarfile.open(path, "w") as tar:
        for source in ("bsds500", "ccp", "coco128seg"):
            for number in range(3):
                _add(tar, f"photos/{source}/{number:04d}", *_photo(rng))
        for clip in range(2):
            colour = rng.integers(0, 256, 3)
            background = rng.integers(0, 256, (120, 160, 3), np.uint8)
            for t in range(frames):
                _add(tar, f"davis/clip{clip}/{2 * t:05d}", *_disk(background, colour, 50 + 5 * t, 60))
    return path


def _photo(rng):
    image = rng.integers(0, 256, (120, 160, 3), np.uint8)
    labels = np.zeros((120, 160), np.uint8)
    for label in (1, 2):
        top, left = rng.integers(5, 50, 2)
        labels[top : top + 40, left : left + 50] = label
        image[labels == label] = rng.integers(0, 256, 3)
    return image, labels


def _disk(background, colour, x, y):
    rows, columns = np.mgrid[:120, :160]
    inside = (columns - x) ** 2 + (rows - y) ** 2 < 22**2
    image = background.copy()
    image[inside] = colour
    return image, inside.astype(np.uint8)


def _add(tar, stem, image, labels):
    for suffix, array in ((".jpg", image), (".png", labels)):
        buffer = io.BytesIO()
        Image.fromarray(array).save(buffer, "JPEG" if suffix == ".jpg" else "PNG")
        info = tarfile.TarInfo(stem + suffix)
        info.size = buffer.tell()
        buffer.seek(0)
        tar.addfile(info, buffer)
