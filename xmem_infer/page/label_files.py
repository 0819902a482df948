"""Masks as PNG files that carry what the network said of them, so that file and confidence change as one."""

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

NOTE = "xmem_infer"  # key of the PNG's text chunk
REFERENCE, PROPAGATED = "reference", "propagated"


@dataclass
class FrameEntry:
    """What is known of a frame that has a mask.

    Attributes:
        version: Changes with the file, and is the same again when an old file comes back; fits into 53 bits.
        origin: `reference` (given by the user) or `propagated`.
        confidence: By object id.
    """

    version: int
    origin: str = PROPAGATED
    confidence: dict[int, ObjectConfidence] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        """For the browser."""
        return {
            "version": self.version,
            "origin": self.origin,
            "confidence": {str(one): round(seen.mean_probability, 4) for one, seen in self.confidence.items()},
            "lost": [one for one, seen in self.confidence.items() if seen.lost],
        }


def version_of(path: Path) -> int:
    """Of the file as it is now: its time of change in microseconds."""
    return path.stat().st_mtime_ns // 1000


def encode_labels(ids: np.ndarray, palette: bytes, origin: str, confidence: Mapping[int, ObjectConfidence]) -> bytes:
    """A palette PNG of (H, W) uint8 object ids, 768 bytes of palette, and the note."""
    image = Image.fromarray(np.ascontiguousarray(ids)).convert("L")
    image.putpalette(palette)
    note = PngImagePlugin.PngInfo()
    said = {"origin": origin, "confidence": {str(one): asdict(seen) for one, seen in confidence.items()}}
    note.add_text(NOTE, json.dumps(said))
    png = io.BytesIO()
    image.save(png, "PNG", compress_level=3, pnginfo=note)
    return png.getvalue()


def encode_mask(mask: np.ndarray) -> bytes:
    """A grey PNG of (H, W) bool: 0 and 255."""
    png = io.BytesIO()
    Image.fromarray(mask.astype(np.uint8) * 255).save(png, "PNG", compress_level=1)
    return png.getvalue()


def read_entry(path: Path) -> FrameEntry | None:
    """The note of a mask file, from its first bytes; None: it has none, as masks of a run."""
    entry = FrameEntry(version_of(path))
    with Image.open(path, formats=["PNG"]) as image:
        text = image.info.get(NOTE)
    if not text:
        return None
    said = json.loads(text)
    entry.origin = said["origin"]
    for one, seen in said["confidence"].items():
        entry.confidence[int(one)] = ObjectConfidence(**{**seen, "drift": tuple(seen["drift"])})
    return entry


def decode_labels(png: bytes, size: tuple[int, int]) -> np.ndarray:
    """(H, W) uint8 object ids of a PNG that a browser sent. Raises UsageError for anything else, before decoding it."""
    try:
        with Image.open(io.BytesIO(png), formats=["PNG"]) as image:
            found = image.size[::-1]
            if found != size:
                raise UsageError(f"the mask is {size_words(found)}, the frames are {size_words(size)}")
            if image.mode not in ("L", "P", "1"):
                raise UsageError(f"the mask has pixels of mode {image.mode}; send 8-bit greyscale or palette PNG")
            return np.array(image.convert("L") if image.mode == "1" else image).astype(np.uint8)
    except UsageError:
        raise
    except Exception as error:  # Pillow answers damaged bytes with exceptions of any kind
        raise UsageError("the mask is not a sound PNG") from error
