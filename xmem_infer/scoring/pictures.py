"""Pictures of a scored set: the worst frames of each video on a sheet, and a chart of all videos."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from ..io.atomic import write_whole
from ..io.images import UnreadableImage, read_rgb
from ..io.listing import counted, is_image_name
from ..io.opencv import opencv
from ..io.palette import visible_colours
from ..outputs.sheet import Cell, contact_sheet, picture_scale
from .metrics import VOID, boundary_map
from .pairing import MAX_PIXELS, VideoPair, read_ids
from .scores import Rules, SetScores, VideoScore, figure_names

TINT = 0.5  # share of an object's colour over the picture
COLOURS = ("#3f72af", "#e8a33d", "#5a9e6f", "#b0508a", "#7a6fb0")  # of the metrics in the chart, in turn
TITLES = {"J": "J (region)", "F": "F (boundary)"}
MAX_BARS = 60  # videos in the chart, the lowest scores; more would be unreadable
LIGHTEN = 0.6  # of outlines, towards white
ROOM = 1.6  # side of a close-up over that of what it shows
LEAST_SHARE = 0.25  # of the frame's sides: tiny objects are not blown up beyond this
PLAIN = 96  # grey level behind the masks where there is no picture

Box = tuple[slice, slice]


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


def draw_sheet(job: SheetJob) -> Path:
    """Write one sheet; returns its path. Raises EnvironmentFault where the disk refuses."""
    found = sorted(filter(is_image_name, job.images.iterdir())) if job.images is not None else []
    pictures = {path.stem: path for path in found}
    measures, colours = job.video.measures, visible_colours(None)
    name = next(iter(measures))
    cells: list[Cell] = []
    shown: set[int] = set()
    size: tuple[int, int] | None = None  # all cells have that of the first
    for frame, overall in job.worst:
        prediction, annotation = read_pair(job, frame)
        size = size or shrunk(annotation)
        box = close_up(prediction | annotation)
        picture = load_picture(pictures.get(frame), size, box, annotation.shape)
        picture = compare(picture, prediction[box], annotation[box], colours)
        cells.append(Cell(picture, frame, f"{name} {100 * overall:.1f}"))
        shown |= {int(label) for label in np.unique(np.stack([annotation, prediction])) if label}
    shares = f"the video has {name} {100 * measures.overall:.1f}"
    subtitle = f"worst frames, close up; filled: prediction, outlined: annotation; {shares}"
    legend = {label: tuple(colours[label].tolist()) for label in sorted(shown)}
    sheet = contact_sheet(cells, job.video.name, subtitle, legend)
    write_whole(job.path, lambda path: sheet.save(path, format="PNG"))
    return job.path


def read_pair(job: SheetJob, frame: str) -> tuple[np.ndarray, np.ndarray]:
    """Prediction and annotation (H, W) uint8 of a scored frame, as the rules see them."""
    at = job.pair.frames.index(frame)
    prediction_file = job.pair.predictions[at]
    assert prediction_file is not None  # or the frame would have no score
    prediction, annotation = read_ids(prediction_file), read_ids(job.pair.annotations[at])
    if job.rules is Rules.davis16:
        return (prediction > 0).view(np.uint8), (annotation > 0).view(np.uint8)
    judged = annotation != VOID
    return prediction * judged, annotation * judged


def shrunk(mask: np.ndarray) -> tuple[int, int]:
    """(width, height) in px of a sheet's pictures for masks of this shape."""
    height, width = mask.shape
    scale = picture_scale(width, height)
    return max(1, round(width * scale)), max(1, round(height * scale))


def close_up(mask: np.ndarray) -> Box:
    """Rows and columns around all that a mask (H, W) shows, with room, in the proportions of the frame."""
    height, width = mask.shape
    left, top, across, down = opencv("scores need").boundingRect(mask)
    if not across:
        return slice(0, height), slice(0, width)
    share = min(1.0, max(ROOM * across / width, ROOM * down / height, LEAST_SHARE))
    rows, columns = max(1, round(share * height)), max(1, round(share * width))
    y = min(max(top + (down - rows) // 2, 0), height - rows)
    x = min(max(left + (across - columns) // 2, 0), width - columns)
    return slice(y, y + rows), slice(x, x + columns)


def load_picture(path: Path | None, size: tuple[int, int], box: Box, shape: tuple[int, ...]) -> np.ndarray:
    """What a box shows of a frame, (H, W, 3) uint8 RGB of `size` (width, height); plain grey where there is no picture.

    box: in a mask of `shape` (H, W), which need not be the picture's.
    """
    if path is not None:
        try:
            picture = Image.fromarray(read_rgb(path, MAX_PIXELS))
            down, across = picture.height / shape[0], picture.width / shape[1]
            edges = (box[1].start * across, box[0].start * down, box[1].stop * across, box[0].stop * down)
            return np.asarray(picture.resize(size, Image.Resampling.BICUBIC, box=edges))
        except UnreadableImage:
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
    edges = {
        int(object_id): boundary_map((annotation == object_id).view(np.uint8))
        for object_id in np.unique(annotation)
        if object_id
    }
    halo = np.ones((3, 3), np.uint8)  # dark around the light line: it shows on any ground
    for edge in edges.values():
        drawn[cv2.dilate(edge, halo) > 0] //= 2
    for object_id, edge in edges.items():
        drawn[edge > 0] = LIGHTEN * 255 + (1 - LIGHTEN) * colours[object_id]
    return drawn


def draw_chart(scores: SetScores, paths: Sequence[Path]) -> None:
    """The metrics of every video as bars, sorted by the overall figure; one file per path, its suffix says which kind.

    Raises ImportError without matplotlib, EnvironmentFault where the disk refuses.
    """
    import matplotlib
    from matplotlib.figure import Figure

    videos = sorted(scores.videos, key=lambda video: video.measures.overall)
    overall, names = figure_names(scores.metrics)[0], " and ".join(scores.metrics)
    title = f"{names} of {counted(len(videos), 'video')}, percent"
    if len(videos) > MAX_BARS:
        videos, title = videos[:MAX_BARS], f"{names} of the lowest {MAX_BARS} of {len(videos)} videos, percent"
    mean = scores.measures_of_scored
    if mean is not None:
        title += (
            f" (all: {overall} {100 * mean.overall:.1f})" if scores.measures else " (some videos could not be scored)"
        )
    figure = Figure(figsize=(8, 1.6 + 0.34 * len(videos)), layout="constrained")
    axes = figure.add_subplot()
    rows = np.arange(len(videos))
    bars = len(scores.metrics)
    for i, metric in enumerate(scores.metrics):
        values = [100 * video.measures[metric] for video in videos]
        offset, colour = (2 * i + 1 - bars) * 0.4 / bars, COLOURS[i % len(COLOURS)]
        axes.barh(rows + offset, values, height=0.72 / bars, color=colour, label=TITLES.get(metric, metric))
    for row, video in zip(rows, videos, strict=True):
        axes.text(101.5, float(row), f"{100 * video.measures.overall:.1f}", va="center", fontsize=9)
    axes.set_yticks(rows, [video.name for video in videos])
    axes.set_ylim(len(videos) - 0.4, -0.6)
    axes.set_xlim(0, 100)
    axes.set_title(title, loc="left", fontsize=11)
    axes.text(101.5, -0.62, overall, va="bottom", fontsize=9)
    figure.legend(loc="outside lower center", ncols=bars, frameon=False)
    axes.grid(axis="x", alpha=0.3)
    axes.set_axisbelow(True)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.tick_params(left=False)
    # Neither dates nor random ids in the files: the same scores give the same bytes
    with matplotlib.rc_context({"svg.hashsalt": "xmem-infer"}):
        for path in paths:
            kind = path.suffix[1:]
            metadata = {"Date": None} if kind == "svg" else None
            write_whole(path, partial(figure.savefig, format=kind, dpi=120, metadata=metadata))
