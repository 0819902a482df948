"""Outputs that store a file per frame (masks, probabilities), and the confidence table."""

import csv
import io
from abc import abstractmethod
from collections import defaultdict
from pathlib import Path

import numpy as np
from PIL import Image

from ..errors import UsageError
from ..io.palette import full_palette
from ..types import ObjectConfidence
from .protocol import OUTPUTS, Item, Output, VideoDetails


class FrameFolder(Output):
    """A folder with one file per frame, named after the frame."""

    suffix: str

    @abstractmethod
    def encode(self, item: Item) -> bytes:
        """Return the content of one frame's file."""

    def write(self, item: Item) -> None:
        self.staged.partial.mkdir(exist_ok=True)
        path = self.staged.partial / f"{item.frame.name}{self.suffix}"
        if path.exists():
            raise UsageError(
                f"two frames are named {item.frame.name!r} (the second is frame {item.frame.index}), so their"
                f" results would overwrite each other in {self.staged.final}; rename one of them"
            )
        path.write_bytes(self.encode(item))


@OUTPUTS.register("masks")
class MaskFolder(FrameFolder):
    """Masks as palette PNG (mode P) whose values are the object ids, with the input's palette or that of DAVIS."""

    path = "masks/{video}"
    suffix = ".png"

    def __init__(self, video: VideoDetails) -> None:
        super().__init__(video)
        self.palette = full_palette(video.palette)

    def encode(self, item: Item) -> bytes:
        height, width = item.mask.shape
        image = Image.frombytes("P", (width, height), np.ascontiguousarray(item.mask).tobytes())
        image.putpalette(self.palette)
        png = io.BytesIO()
        image.save(png, "PNG", compress_level=3)
        return png.getvalue()


@OUTPUTS.register("scores")
class ScoreFolder(FrameFolder):
    """Probabilities as compressed npz: `probabilities` (O + 1, H, W) uint8 = 255 p, `labels` (O,) uint8.

    Channel 0 is the background, channel 1 + i the object with id labels[i].
    """

    path = "scores/{video}"
    suffix = ".npz"
    needs_scores = True

    def encode(self, item: Item) -> bytes:
        assert item.scores is not None, "callers of `VideoWriter.put` give them"
        npz = io.BytesIO()
        object_ids = np.array(list(item.confidence), np.uint8)
        np.savez_compressed(npz, probabilities=item.scores, labels=object_ids)
        return npz.getvalue()


@OUTPUTS.register("confidence")
class ConfidenceTable(Output):
    """CSV with one row per frame and object: frame, label (object id), area_px, mean_probability, lost (0 or 1),
    key_distance, drift (its signs, separated by spaces), int8_differs (empty if nothing was compared)."""

    path = "confidence/{video}.csv"
    HEADER = ("frame", "label", "area_px", "mean_probability", "lost", "key_distance", "drift", "int8_differs")

    def write(self, item: Item) -> None:
        # surrogateescape preserves the bytes of file names that are not valid UTF-8
        with open(self.staged.partial, "a", newline="", encoding="utf-8", errors="surrogateescape") as file:
            table = csv.writer(file)
            if file.tell() == 0:
                table.writerow(self.HEADER)
            for object_id, confidence in sorted(item.confidence.items()):
                table.writerow(confidence_row(item.frame.name, object_id, confidence))


def confidence_row(frame: str, object_id: int, confidence: ObjectConfidence) -> tuple[str | int, ...]:
    """Format one row of the confidence table; for the columns see `ConfidenceTable.HEADER`."""
    probability, distance = f"{confidence.mean_probability:.4f}", f"{confidence.key_distance:.4f}"
    differs = "" if confidence.int8_differs is None else f"{confidence.int8_differs:.4f}"
    lost, drift = int(confidence.lost), " ".join(confidence.drift)
    return frame, object_id, confidence.area_px, probability, lost, distance, drift, differs


def read_confidence(path: Path) -> dict[str, dict[int, ObjectConfidence]]:
    """Read a confidence table: confidence by frame name, then by object id.

    Tables of older versions lack the last columns, for which defaults are used.
    """
    table: dict[str, dict[int, ObjectConfidence]] = defaultdict(dict)
    with open(path, newline="", encoding="utf-8", errors="surrogateescape") as file:
        for row in csv.DictReader(file):
            distance, drift = float(row.get("key_distance", 0)), tuple(row.get("drift", "").split())
            area_px, probability, lost = int(row["area_px"]), float(row["mean_probability"]), row["lost"] == "1"
            differs = float(row["int8_differs"]) if row.get("int8_differs") else None
            confidence = ObjectConfidence(area_px, probability, lost, distance, drift, differs)
            table[row["frame"]][int(row["label"])] = confidence
    return table
