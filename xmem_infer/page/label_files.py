"""Mask files: palette PNG with the confidence in a text chunk, so that mask and confidence change atomically."""

import io
import json
import zlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, PngImagePlugin

from ..errors import UsageError
from ..types import ObjectConfidence

NOTE = "xmem_infer"  # key of the text chunk in the PNG


@dataclass
class FrameEntry:
    """Metadata of a frame that has a mask.

    Attributes:
        version: Identifies the content of the mask file: undo brings the old version back. Fits into 53 bits, because
            JavaScript has no larger integers.
        confidence: Confidence by object id.
    """

    version: int
    confidence: dict[int, ObjectConfidence] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        """Return the entry as it is sent to the browser."""
        return {
            "version": self.version,
            "confidence": {key: round(seen.mean_probability, 4) for key, seen in self.confidence.items()},
            "lost": [object_id for object_id, seen in self.confidence.items() if seen.lost],
        }


def version_of(path: Path) -> int:
    """Return the modification time of a file in microseconds, which serves as its version."""
    return path.stat().st_mtime_ns // 1000


def encode_png(ids: np.ndarray, palette: bytes, confidence: Mapping[int, ObjectConfidence]) -> bytes:
    """Encode (H, W) uint8 object ids as a palette PNG with 768 bytes of palette, and the confidence in a text chunk."""
    image = Image.fromarray(np.ascontiguousarray(ids)).convert("L")
    image.putpalette(palette)
    note = PngImagePlugin.PngInfo()
    note.add_text(NOTE, json.dumps({"confidence": {key: asdict(seen) for key, seen in confidence.items()}}))
    png = io.BytesIO()
    image.save(png, "PNG", compress_level=3, pnginfo=note)
    return png.getvalue()


def read_png(png: bytes) -> np.ndarray:
    """Return the (H, W) uint8 object ids of such a PNG."""
    return np.asarray(Image.open(io.BytesIO(png), formats=["PNG"]), np.uint8)


def read_entry(path: Path) -> FrameEntry | None:
    """Read the text chunk of a mask file without decoding its pixels. None if there is none, as in masks of a run."""
    entry = FrameEntry(version_of(path))
    with Image.open(path, formats=["PNG"]) as image:
        text = image.info.get(NOTE)
    if not text:
        return None
    for key, seen in json.loads(text)["confidence"].items():
        entry.confidence[int(key)] = ObjectConfidence(**{**seen, "drift": tuple(seen["drift"])})
    return entry


def encode_labels(ids: np.ndarray) -> bytes:
    """Encode (H, W) uint8 or bool for a browser: row by row, compressed by zlib."""
    return zlib.compress(ids.tobytes(), 1)


def decode_labels(content: bytes, size: tuple[int, int]) -> np.ndarray:
    """Decode what `encode_labels` returns, sent by a browser, to (H, W) uint8. Raises UsageError if it is invalid."""
    height, width = size
    try:
        pixels = zlib.decompressobj().decompress(content, height * width + 1)
    except zlib.error as error:
        raise UsageError(f"the mask is not compressed by zlib: {error}") from error
    if len(pixels) != height * width:
        raise UsageError(f"the mask does not have one byte for each of the {width}x{height} pixels")
    return np.frombuffer(pixels, np.uint8).reshape(size)
