"""Folders of small image files as frames."""

import struct
import zlib
from pathlib import Path

import numpy as np
from PIL import Image

from xmem_infer.config import DataConfig, OnCorrupt

WARN = DataConfig(on_corrupt=OnCorrupt.warn)


def picture(seed: int = 0, height: int = 12, width: int = 17) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3)).astype(np.uint8)


def save_frames(folder: Path, names: list[str], height: int = 12, width: int = 17) -> Path:
    folder.mkdir(exist_ok=True)
    for seed, name in enumerate(names):
        Image.fromarray(picture(seed, height, width)).save(folder / name)
    return folder


def cut(path: Path, share: float) -> None:
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])


def png_that_declares(path: Path, width: int, height: int) -> Path:
    """Write a PNG of a few bytes whose header declares a huge image."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")
    )
    return path
