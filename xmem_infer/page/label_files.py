"""Mask files: palette PNG with origin and confidence in a text chunk, so that mask and confidence change atomically."""

import io
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, PngImagePlugin

from ..errors import UsageError
from ..io.images import size_words
from ..types import ObjectConfidence

NOTE = "xmem_infer"  # key of the text chunk in the PNG
REFERENCE, PROPAGATED = "reference", "propagated"


@dataclass
class FrameEntry:
    """Metadata of a frame that has a mask.

    Attributes:
        version: Identifies the content of the mask file: undo brings the old version back. Fits into 53 bits, because
            JavaScript has no larger integers.
        origin: `reference` (given by the user) or `propagated`.
        confidence: Confidence by object id.
    """

    version: int
    origin: str = PROPAGATED
    confidence: dict[int, ObjectConfidence] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        """Return the entry as it is sent to the browser."""
        return {
            "version": self.version,
            "origin": self.origin,
            "confidence": {str(key): round(seen.mean_probability, 4) for key, seen in self.confidence.items()},
            "lost": [object_id for object_id, seen in self.confidence.items() if seen.lost],
        }


def version_of(path: Path) -> int:
    """Return the modification time of a file in microseconds, which serves as its version."""
    return path.stat().st_mtime_ns // 1000


def encode_labels(ids: np.ndarray, palette: bytes, origin: str, confidence: Mapping[int, ObjectConfidence]) -> bytes:
    """Encode (H, W) uint8 object ids as a palette PNG with 768 bytes of palette; the rest goes into the text chunk."""
    image = Image.fromarray(np.ascontiguousarray(ids)).convert("L")
    image.putpalette(palette)
    note = PngImagePlugin.PngInfo()
    fields = {"origin": origin, "confidence": {str(key): asdict(seen) for key, seen in confidence.items()}}
    note.add_text(NOTE, json.dumps(fields))
    png = io.BytesIO()
    image.save(png, "PNG", compress_level=3, pnginfo=note)
    return png.getvalue()


def encode_mask(mask: np.ndarray) -> bytes:
    """Encode an (H, W) bool mask as a grey PNG with values 0 and 255."""
    png = io.BytesIO()
    Image.fromarray(mask.astype(np.uint8) * 255).save(png, "PNG", compress_level=1)
    return png.getvalue()


def read_entry(path: Path) -> FrameEntry | None:
    """Read the text chunk of a mask file without decoding its pixels. None if there is none, as in masks of a run."""
    entry = FrameEntry(version_of(path))
    with Image.open(path, formats=["PNG"]) as image:
        text = image.info.get(NOTE)
    if not text:
        return None
    fields = json.loads(text)
    entry.origin = fields["origin"]
    for key, seen in fields["confidence"].items():
        entry.confidence[int(key)] = ObjectConfidence(**{**seen, "drift": tuple(seen["drift"])})
    return entry


def decode_labels(png: bytes, size: tuple[int, int]) -> np.ndarray:
    """Decode a PNG sent by a browser to (H, W) uint8 object ids.

    Raises:
        UsageError: Not a PNG, damaged, of another size or of another pixel format; checked before decoding if possible.
    """
    try:
        with Image.open(io.BytesIO(png), formats=["PNG"]) as image:
            if image.size[::-1] != size:
                raise UsageError(f"the mask is {size_words(image.size[::-1])}, the frames are {size_words(size)}")
            if image.mode not in ("L", "P", "1"):
                raise UsageError(f"the mask has pixels of mode {image.mode}; send 8-bit greyscale or palette PNG")
            return np.array(image.convert("L") if image.mode == "1" else image).astype(np.uint8)
    except UsageError:
        raise
    except Exception as error:  # Pillow raises exceptions of many types for damaged files
        raise UsageError("the mask is not a valid PNG") from error
