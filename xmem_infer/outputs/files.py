"""Results frame by frame: masks and probabilities as one file each, confidence as one table."""

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
        """The content of one frame's file."""

    def write(self, item: Item) -> None:
        self.staged.partial.mkdir(exist_ok=True)
        path = self.staged.partial / f"{item.frame.name}{self.suffix}"
        try:
            with open(path, "xb") as file:  # x: two frames of one name must not overwrite each other
                file.write(self.encode(item))
        except FileExistsError as error:
            raise UsageError(
                f"two frames are named {item.frame.name!r} (the second is frame {item.frame.index}), so their"
                f" results would overwrite each other in {self.staged.final}; rename one of them"
            ) from error


@OUTPUTS.register("masks")
class MaskFolder(FrameFolder):
    """Masks as palette PNG: mode P, the object ids as they are, the given palette or DAVIS's."""

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
        assert item.scores is not None  # the writer checked at the door
        npz = io.BytesIO()
        object_ids = np.array(list(item.confidence), np.uint8)
        np.savez_compressed(npz, probabilities=item.scores, labels=object_ids)
        return npz.getvalue()


@OUTPUTS.register("confidence")
class ConfidenceTable(Output):
    """CSV, one row per frame and object: frame, label (its id), area_px, mean_probability, lost (0 or 1),
    key_distance, drift (its signs with spaces between), int8_differs (empty where nothing was compared)."""

    path = "confidence/{video}.csv"
    HEADER = ("frame", "label", "area_px", "mean_probability", "lost", "key_distance", "drift", "int8_differs")

    def write(self, item: Item) -> None:
        # surrogateescape: a file name that is no valid UTF-8 keeps its bytes
        with open(self.staged.partial, "a", newline="", encoding="utf-8", errors="surrogateescape") as file:
            table = csv.writer(file)
            if file.tell() == 0:
                table.writerow(self.HEADER)
            for object_id, seen in sorted(item.confidence.items()):
                table.writerow(confidence_row(item.frame.name, object_id, seen))


def confidence_row(frame: str, object_id: int, seen: ObjectConfidence) -> tuple[str | int, ...]:
    """A row of the table of confidences, see `ConfidenceTable.HEADER`."""
    probability, distance = f"{seen.mean_probability:.4f}", f"{seen.key_distance:.4f}"
    compared = "" if seen.int8_differs is None else f"{seen.int8_differs:.4f}"
    return frame, object_id, seen.area_px, probability, int(seen.lost), distance, " ".join(seen.drift), compared


def read_confidence(path: Path) -> dict[str, dict[int, ObjectConfidence]]:
    """A table of confidences as it was written: by frame name, then by object id. Older ones lack columns."""
    found: dict[str, dict[int, ObjectConfidence]] = defaultdict(dict)
    with open(path, newline="", encoding="utf-8", errors="surrogateescape") as file:
        for row in csv.DictReader(file):
            distance, drift = float(row.get("key_distance", 0)), tuple(row.get("drift", "").split())
            area_px, probability, lost = int(row["area_px"]), float(row["mean_probability"]), row["lost"] == "1"
            compared = float(row["int8_differs"]) if row.get("int8_differs") else None
            seen = ObjectConfidence(area_px, probability, lost, distance, drift, compared)
            found[row["frame"]][int(row["label"])] = seen
    return found
