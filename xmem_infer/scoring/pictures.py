"""The worst frames of each video on a sheet: prediction and annotation over the picture."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from ..io.atomic import write_whole
from ..io.opencv import opencv
from ..io.palette import visible_colours
from ..outputs.sheet import Cell, contact_sheet, picture_scale
from .metrics import VOID, boundary_map
from .pairing import READ_ERRORS, VideoPair, read_labels
from .score_types import Rules, SetScores, VideoScore

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff")
TINT = 0.5  # share of an object's colour over the picture
LIGHTEN = 0.6  # of outlines, towards white
PLAIN = 96  # grey level behind the masks where there is no picture


class SheetJob(NamedTuple):
    """The worst frames of one video: files, rules, folder of its pictures (None: there are none), the sheet."""

    video: VideoScore
    pair: VideoPair
    worst: list[tuple[str, float]]
    rules: Rules
    images: Path | None
    path: Path


def sheet_jobs(scores: SetScores, number: int, images: Path | None, folder: Path) -> list[SheetJob]:
    """One sheet `folder/<video>.png` per video with its `number` worst frames; images: see `picture_folder`."""
    jobs = []
    for video in scores.videos:
        pair = scores.pairs[video.name]
        pictures, path = picture_folder(images, pair), folder / f"{video.name}.png"
        jobs.append(SheetJob(video, pair, video.worst_frames(number), scores.rules, pictures, path))
    return jobs


def picture_folder(images: Path | None, pair: VideoPair) -> Path | None:
    """Where a video's frames lie: below `images`; None: in JPEGImages beside the Annotations, if there."""
    if images is not None:
        candidates = [images / pair.name, images]
    else:
        parts = pair.annotations[0].parent.resolve().parts
        levels = [i for i, part in enumerate(parts) if part == "Annotations"]
        candidates = [Path(*parts[:i], "JPEGImages", *parts[i + 1 :]) for i in levels]
    return next((folder for folder in candidates if folder.is_dir()), None)


def draw_sheet(job: SheetJob) -> None:
    """Write one sheet. Raises EnvironmentFault where the disk refuses."""
    pictures = {}
    if job.images is not None:
        found = sorted(path for path in job.images.iterdir() if path.suffix.lower() in IMAGE_SUFFIXES)
        pictures = {path.stem: path for path in found}
    colours = visible_colours(None)
    cells: list[Cell] = []
    shown: set[int] = set()
    size: tuple[int, int] | None = None  # all cells have that of the first
    for frame, jf in job.worst:
        prediction, annotation = read_pair(job, frame)
        size = size or shrunk(annotation)
        picture = compare(load_picture(pictures.get(frame), size), prediction, annotation, colours)
        cells.append(Cell(picture, frame, f"J&F {100 * jf:.1f}"))
        shown |= {int(label) for label in np.unique(np.stack([annotation, prediction])) if label}
    subtitle = (
        f"worst frames; filled: prediction, outlined: annotation; the video has J&F {100 * job.video.measures.jf:.1f}"
    )
    legend = {label: rgb(colours[label]) for label in sorted(shown)}
    sheet = contact_sheet(cells, job.video.name, subtitle, legend)
    write_whole(job.path, lambda path: sheet.save(path, format="PNG"))


def read_pair(job: SheetJob, frame: str) -> tuple[np.ndarray, np.ndarray]:
    """Prediction and annotation (H, W) uint8 of a scored frame, as the rules see them."""
    at = job.pair.frames.index(frame)
    prediction_file = job.pair.predictions[at]
    assert prediction_file is not None  # or the frame would have no score
    prediction, annotation = read_labels(prediction_file), read_labels(job.pair.annotations[at])
    if job.rules is Rules.davis16:
        return (prediction > 0).view(np.uint8), (annotation > 0).view(np.uint8)
    judged = annotation != VOID
    return prediction * judged, annotation * judged


def shrunk(mask: np.ndarray) -> tuple[int, int]:
    """(width, height) in px of a sheet's pictures for masks of this shape."""
    height, width = mask.shape
    scale = picture_scale(width, height)
    return max(1, round(width * scale)), max(1, round(height * scale))


def load_picture(path: Path | None, size: tuple[int, int]) -> np.ndarray:
    """RGB picture of `size` (width, height) as (H, W, 3) uint8; plain grey where there is none to read."""
    if path is not None:
        try:
            with Image.open(path) as image:
                return np.asarray(image.convert("RGB").resize(size, Image.Resampling.BOX))
        except READ_ERRORS:
            pass  # the figures stand; a picture that cannot be read is no reason to lose the sheet
    return np.full((size[1], size[0], 3), PLAIN, np.uint8)


def compare(picture: np.ndarray, prediction: np.ndarray, annotation: np.ndarray, colours: np.ndarray) -> np.ndarray:
    """`picture` (h, w, 3) uint8 with the prediction tinted and the annotation outlined, object by object.

    Masks of any size are scaled to the picture. The same object has the same colour in both, so that
    exchanged objects stand out.
    """
    cv2 = opencv("scores need")
    size = (picture.shape[1], picture.shape[0])
    prediction, annotation = (cv2.resize(mask, size, interpolation=0) for mask in (prediction, annotation))
    tinted = np.rint((1 - TINT) * picture + TINT * colours[prediction]).astype(np.uint8)
    drawn = np.where(prediction[..., None] > 0, tinted, picture)
    labels = [int(label) for label in np.unique(annotation) if label]
    edges = {label: boundary_map((annotation == label).view(np.uint8)) for label in labels}
    halo = np.ones((3, 3), np.uint8)  # dark around the light line: it shows on any ground
    for edge in edges.values():
        drawn[cv2.dilate(edge, halo) > 0] //= 2
    for label, edge in edges.items():
        drawn[edge > 0] = LIGHTEN * 255 + (1 - LIGHTEN) * colours[label]
    return drawn


def rgb(colour: np.ndarray) -> tuple[int, int, int]:
    red, green, blue = (int(value) for value in colour)
    return red, green, blue
