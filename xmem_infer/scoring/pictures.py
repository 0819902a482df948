"""Pictures of a scored set: a contact sheet of the worst frames of each video, and a bar chart of all videos."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image

from ..io.atomic import write_whole
from ..io.images import UnreadableImage, read_rgb
from ..io.listing import counted, is_image_name
from ..io.opencv import opencv
from ..io.palette import visible_colours
from ..outputs.sheet import Cell, contact_sheet, picture_scale
from .metrics import VOID, boundary_map, ids_in
from .pairing import MAX_PIXELS, VideoPair, read_ids
from .scores import Rules, SetScores, VideoScore, figure_names

TINT = 0.5  # opacity of an object's colour over the frame
COLOURS = ("#3f72af", "#e8a33d", "#5a9e6f", "#b0508a", "#7a6fb0")  # bar colours of the metrics, repeated cyclically
TITLES = {"J": "J (region)", "F": "F (boundary)"}
MAX_BARS = 60  # videos in the chart, those with the lowest scores; more would be unreadable
LIGHTEN = 0.6  # share of white in the colour of outlines
CLOSE_UP_MARGIN = 1.6  # side of a close-up relative to the bounding box of the objects
MIN_CLOSE_UP = 0.25  # minimum side of a close-up relative to the frame, so that tiny objects are not magnified more
PLAIN = 96  # grey level of the background if there is no image

Box = tuple[slice, slice]


def frames_folder(images: Path | None, pair: VideoPair) -> Path | None:
    """Return the folder of a video's frames, or None if there is none.

    It is searched in `images` or, if that is None, in JPEGImages next to Annotations.
    """
    if images is not None:
        candidates = [images / pair.name, images]
    else:
        parts = next(iter(pair.annotations.values())).parent.resolve().parts
        levels = [i for i, part in enumerate(parts) if part == "Annotations"]
        candidates = [Path(*parts[:i], "JPEGImages", *parts[i + 1 :]) for i in levels]
    return next((folder for folder in candidates if folder.is_dir()), None)


def draw_sheet(
    video_and_pair: tuple[VideoScore, VideoPair], number: int, rules: Rules, images: Path | None, folder: Path
) -> Path:
    """Draw the `number` worst frames of a video to `folder/<video>.png` and return this path.

    images: see `frames_folder`. Raises EnvironmentFault if the file cannot be written.
    """
    video, pair = video_and_pair
    frames = frames_folder(images, pair)
    by_stem = {path.stem: path for path in sorted(frames.iterdir()) if is_image_name(path)} if frames else {}
    colours, name = visible_colours(None), next(iter(video.measures))
    cells = []
    for frame, score in video.worst_frames(number):
        prediction, annotation = read_pair(pair, frame, rules)
        box = close_up(prediction | annotation)
        picture = load_picture(by_stem.get(frame), box, annotation.shape)
        picture = draw_comparison(picture, prediction[box], annotation[box], colours)
        cells.append(Cell(picture, frame, f"{name} {100 * score:.1f}"))
    overall = f"the video has {name} {100 * video.measures.overall:.1f}"
    subtitle = f"worst frames, close up; filled: prediction, outlined: annotation; {overall}"
    legend = {scored.object_id: tuple(colours[scored.object_id].tolist()) for scored in video.objects}
    sheet = contact_sheet(cells, video.name, subtitle, legend)
    path = folder / f"{video.name}.png"
    write_whole(path, lambda to: sheet.save(to, format="PNG"))
    return path


def read_pair(pair: VideoPair, frame: str, rules: Rules) -> tuple[np.ndarray, np.ndarray]:
    """Read prediction and annotation, (H, W) uint8, of a scored frame, and apply the scoring rules to them."""
    prediction, annotation = read_ids(pair.predictions[frame]), read_ids(pair.annotations[frame])
    if rules is Rules.davis16:
        return (prediction > 0).view(np.uint8), (annotation > 0).view(np.uint8)
    is_scored = annotation != VOID
    return prediction * is_scored, annotation * is_scored


def close_up(mask: np.ndarray) -> Box:
    """Return the box around all objects of a mask (H, W), with a margin and the aspect ratio of the frame."""
    height, width = mask.shape
    left, top, box_width, box_height = opencv("scores need").boundingRect(mask)
    if not box_width:
        return slice(0, height), slice(0, width)
    share = min(1.0, max(CLOSE_UP_MARGIN * box_width / width, CLOSE_UP_MARGIN * box_height / height, MIN_CLOSE_UP))
    rows, columns = max(1, round(share * height)), max(1, round(share * width))
    y = min(max(top + (box_height - rows) // 2, 0), height - rows)
    x = min(max(left + (box_width - columns) // 2, 0), width - columns)
    return slice(y, y + rows), slice(x, x + columns)


def load_picture(path: Path | None, box: Box, shape: tuple[int, ...]) -> np.ndarray:
    """Read the part of a frame inside a box, (h, w, 3) uint8 RGB, scaled to the size of a sheet's pictures.

    Returns a grey image if `path` is None or unreadable. box: in the pixels of a mask of `shape` (H, W), which may
    differ in size from the frame.
    """
    height, width = shape
    scale = picture_scale(width, height)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    if path is not None:
        try:
            image = Image.fromarray(read_rgb(path, MAX_PIXELS))
            scale_y, scale_x = image.height / height, image.width / width
            edges = (box[1].start * scale_x, box[0].start * scale_y, box[1].stop * scale_x, box[0].stop * scale_y)
            return np.asarray(image.resize(size, Image.Resampling.BICUBIC, box=edges))
        except UnreadableImage:
            pass  # the masks are worth showing even without the image
    return np.full((size[1], size[0], 3), PLAIN, np.uint8)


def draw_comparison(
    picture: np.ndarray, prediction: np.ndarray, annotation: np.ndarray, colours: np.ndarray
) -> np.ndarray:
    """Return `picture` (h, w, 3) uint8 with each object of the prediction tinted and of the annotation outlined.

    Masks are scaled to the size of the picture. An object has the same colour in both, so that swapped objects are
    easy to see.
    """
    cv2 = opencv("scores need")
    size = (picture.shape[1], picture.shape[0])
    prediction, annotation = (cv2.resize(mask, size, interpolation=0) for mask in (prediction, annotation))
    tinted = np.rint((1 - TINT) * picture + TINT * colours[prediction]).astype(np.uint8)
    drawn = np.where(prediction[..., None] > 0, tinted, picture)
    edges = {id: boundary_map((annotation == id).view(np.uint8)) for id in ids_in(annotation)}
    kernel = np.ones((3, 3), np.uint8)
    for edge in edges.values():  # a dark halo makes the light line visible on any background
        drawn[cv2.dilate(edge, kernel) > 0] //= 2
    for object_id, edge in edges.items():
        drawn[edge > 0] = LIGHTEN * 255 + (1 - LIGHTEN) * colours[object_id]
    return drawn


def draw_chart(scores: SetScores, paths: Sequence[Path]) -> None:
    """Draw a bar chart of the metrics of every video, sorted by overall score, to each path; suffixes choose formats.

    Raises:
        ImportError: matplotlib is not installed.
        EnvironmentFault: A file cannot be written.
    """
    import matplotlib
    from matplotlib.figure import Figure

    videos = sorted(scores.videos, key=lambda video: video.measures.overall)[:MAX_BARS]
    overall, total = figure_names(scores.metrics)[0], counted(len(scores.videos), "video")
    of = total if len(videos) == len(scores.videos) else f"the lowest {MAX_BARS} of {total}"
    all_videos = f"all: {overall} {100 * scores.measures.overall:.1f}" if scores.measures else "some were not scored"
    title = f"{' and '.join(scores.metrics)} of {of}, percent ({all_videos})"
    figure = Figure(figsize=(8, 1.6 + 0.34 * len(videos)), layout="constrained")
    axes = figure.add_subplot()
    rows, bars = np.arange(len(videos)), len(scores.metrics)
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
    # No dates or random ids in the files, so that equal scores give identical files.
    with matplotlib.rc_context({"svg.hashsalt": "xmem-infer"}):
        for path in paths:
            metadata = {"Date": None} if path.suffix == ".svg" else None
            write_whole(path, partial(figure.savefig, format=path.suffix[1:], dpi=120, metadata=metadata))
