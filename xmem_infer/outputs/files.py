"""Where the results of one video go, one class per kind of output: masks, scores, confidence."""

import csv
import io
from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from ..errors import UsageError
from ..io.atomic import Staged
from ..io.palette import full_palette
from ..types import Frame, ObjectConfidence


class Item(NamedTuple):
    """One frame's result: labels (H, W) uint8; confidence by label; scores (O + 1, H, W) uint8 or None."""

    frame: Frame
    labels: np.ndarray
    confidence: Mapping[int, ObjectConfidence]
    scores: np.ndarray | None


class Sink(ABC):
    """One output of one video. `write` per frame, then `finish` (whole, under the partial name) or `discard`.

    write and finish raise OSError where the disk refuses.
    """

    def __init__(self, final: Path) -> None:
        self.staged = Staged(final)

    @abstractmethod
    def write(self, item: Item) -> None:
        """Take one frame's result."""

    @abstractmethod
    def finish(self) -> None:
        """Complete what lies under the partial name; called once, after at least one frame."""

    def discard(self) -> None:
        """Close and remove the partial output; never raises."""
        self.staged.discard()


class FrameFolder(Sink):
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

    def finish(self) -> None:
        """Every file was complete when written."""


class MaskFolder(FrameFolder):
    """Label images as palette PNG: mode P, the labels as they are, the given palette or DAVIS's."""

    suffix = ".png"

    def __init__(self, final: Path, palette: bytes | None) -> None:
        super().__init__(final)
        self.palette = full_palette(palette)

    def encode(self, item: Item) -> bytes:
        height, width = item.labels.shape
        image = Image.frombytes("P", (width, height), np.ascontiguousarray(item.labels).tobytes())
        image.putpalette(self.palette)
        png = io.BytesIO()
        image.save(png, "PNG", compress_level=3)
        return png.getvalue()


class ScoreFolder(FrameFolder):
    """Probabilities as compressed npz: `probabilities` (O + 1, H, W) uint8 = 255 p, `labels` (O,) uint8.

    Channel 0 is the background, channel 1 + i the object labels[i].
    """

    suffix = ".npz"

    def encode(self, item: Item) -> bytes:
        assert item.scores is not None  # the writer checked at the door
        npz = io.BytesIO()
        labels = np.array(list(item.confidence), np.uint8)
        np.savez_compressed(npz, probabilities=item.scores, labels=labels)
        return npz.getvalue()


class ConfidenceTable(Sink):
    """CSV, one row per frame and label: frame, label, area_px, mean_probability, lost (0 or 1)."""

    HEADER = ("frame", "label", "area_px", "mean_probability", "lost")

    def __init__(self, final: Path) -> None:
        super().__init__(final)
        self.file: io.TextIOWrapper | None = None

    def write(self, item: Item) -> None:
        if self.file is None:
            # surrogateescape: a file name that is no valid UTF-8 keeps its bytes
            self.file = open(  # noqa: SIM115 (closed by finish or discard)
                self.staged.partial, "w", newline="", encoding="utf-8", errors="surrogateescape"
            )
            csv.writer(self.file).writerow(self.HEADER)
        rows = csv.writer(self.file)
        for label, seen in sorted(item.confidence.items()):
            rows.writerow((item.frame.name, label, seen.area_px, f"{seen.mean_probability:.4f}", int(seen.lost)))

    def finish(self) -> None:
        if self.file is not None:
            self.file.close()

    def discard(self) -> None:
        if self.file is not None:
            try:
                self.file.close()
            except OSError:
                self.file = None  # the disk refused the rest; it is removed anyway
        super().discard()
