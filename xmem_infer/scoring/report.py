"""Report a scored set: a table on the terminal, scores.csv, scores.json, pictures, comparison with published scores."""

import csv
import io
import logging
from collections.abc import Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from tqdm import tqdm

from ..config import DatasetConfig
from ..io.atomic import disk_fault, remove, write_json, write_whole
from ..io.listing import counted
from ..io.versions import versions
from .parallel import in_parallel
from .pictures import draw_chart, draw_sheet
from .scores import Rules, SetScores, VideoScore, figure_names

log = logging.getLogger(__name__)
tables = logging.getLogger("xmem_infer.tables")  # written to standard output


def log_scores(scores: SetScores, remarks: Iterable[str]) -> None:
    """Log the table to standard output, and videos that were not scored and remarks to standard error."""
    if scores.videos:
        tables.info(table(scores))
    for name, problem in scores.problems.items():
        log.info(f"not scored: {name}: {problem}")
    for remark in remarks:
        log.info(f"note: {remark}")


def write_report(
    scores: SetScores,
    output_dir: Path,
    images: Path | None = None,
    worst_frames: int = 8,
    workers: int = 1,
    published: dict[str, Any] | None = None,
) -> None:
    """Write scores.csv, scores.png, scores.svg, worst/<video>.png and, last, scores.json; log the table and remarks.

    Pictures of a previous run that are not replaced are removed, so that all files are consistent. images: folder of
    the videos' frames for the sheets, see `frames_folder`; worst_frames: their number on each sheet, 0: no sheets;
    published: see `compare_with_published`. Raises EnvironmentFault if a file cannot be written.
    """
    remarks = notes(scores)
    sheets, charts = output_dir / "worst", [output_dir / "scores.png", output_dir / "scores.svg"]
    stale = {sheets / f"{name}.png" for name in (*scores.pairs, *scores.problems)} | set(charts)
    if worst_frames:
        draw = partial(draw_sheet, number=worst_frames, rules=scores.rules, images=images, folder=sheets)
        videos = [(video, scores.pairs[video.name]) for video in scores.videos]
        drawn = in_parallel(draw, videos, workers)
        stale -= set(tqdm(drawn, total=len(videos), desc="worst frames", unit="video", disable=None))
    if scores.videos:
        try:
            draw_chart(scores, charts)
            stale -= set(charts)
        except ImportError:
            remarks.append("no bar chart: it needs matplotlib (`pip install matplotlib`, or the extra `plot`)")
    try:
        for path in stale:
            remove(path)
    except OSError as error:
        raise disk_fault(error, output_dir) from error
    write_csv(scores, output_dir / "scores.csv")
    write_scores(scores, output_dir / "scores.json", worst_frames, published)
    log_scores(scores, remarks)


def write_csv(scores: SetScores, path: Path) -> None:
    """Write a row per object, per video and, if all videos were scored, for the set; scores are fractions of 1."""
    text = io.StringIO(newline="")
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(("level", "video", "object", "frames", *figure_names(scores.metrics)))
    for video in scores.videos:
        for scored in video.objects:
            rows.writerow(("object", video.name, scored.object_id, len(scored.overall), *scored.measures.values()))
        rows.writerow(("video", video.name, "", len(video.frames), *video.measures.values()))
    if scores.measures:
        frames = sum(len(video.frames) for video in scores.videos)
        rows.writerow(("set", "", "", frames, *scores.measures.values()))
    write_whole(path, lambda to: to.write_text(text.getvalue(), encoding="utf-8"))


def write_scores(scores: SetScores, path: Path, worst_frames: int, published: dict[str, Any] | None) -> None:
    """Write scores.json, with scores as fractions of 1; those of the set are null unless all videos were scored."""
    content: dict[str, Any] = {
        **(scores.measures or dict.fromkeys(figure_names(scores.metrics))),
        "complete": not scores.problems,
        "scored": {
            "videos": len(scores.videos),
            "objects": sum(len(video.objects) for video in scores.videos),
            "frames": sum(len(video.frames) for video in scores.videos),
        },
        "videos": {video.name: video_entry(video, worst_frames) for video in scores.videos},
        "problems": dict(scores.problems),
        "notes": notes(scores),
        "provenance": {
            "rules": scores.rules.name,
            "predictions": str(scores.predictions.resolve()),
            "annotations": str(scores.annotations.resolve()),
            "versions": versions(),
        },
    }
    if scores.problems and scores.measures_of_scored:
        content["mean_of_scored"] = scores.measures_of_scored
    if published is not None:
        content["published"] = published
    write_json(path, content)


def video_entry(video: VideoScore, worst_frames: int) -> dict[str, Any]:
    """Return the entry of one video in scores.json."""
    overall = next(iter(video.measures))
    objects = {
        str(one.object_id): {**one.measures, "frames": len(one.overall), "first_frame": video.frames[one.start]}
        for one in video.objects
    }
    return {
        **video.measures,
        "frames": len(video.frames),
        "objects": objects,
        "worst_frames": [{"frame": frame, overall: value} for frame, value in video.worst_frames(worst_frames)],
    }


def table(scores: SetScores) -> str:
    """Format the scores of all videos and their mean, in percent, as a table; a partial mean is labelled as such."""
    total = len(scores.videos) + len(scores.problems)
    headings = [name.replace("_", " ") for name in figure_names(scores.metrics)]
    rows = [["video", "objects", "frames", *headings]]
    for video in scores.videos:
        rows.append([video.name, str(len(video.objects)), str(len(video.frames)), *percent(video.measures)])
    title = "mean over objects" if scores.measures else f"mean of {len(scores.videos)} of {total} videos only"
    objects, frames = (sum(int(row[column]) for row in rows[1:]) for column in (1, 2))
    rows.append([title, str(objects), str(frames), *percent(scores.measures_of_scored or {})])
    first, *widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [
        "  ".join([name.ljust(first), *(cell.rjust(width) for cell, width in zip(cells, widths, strict=True))])
        for name, *cells in rows
    ]
    rule = "-" * len(lines[0])
    return "\n".join([f"percent, rules {scores.rules.name}", lines[0], rule, *lines[1:-1], rule, lines[-1]])


def percent(measures: Mapping[str, float]) -> list[str]:
    return [f"{100 * figure:.2f}" for figure in measures.values()]


def notes(scores: SetScores) -> list[str]:
    """Return remarks that help to interpret the scores; none of them is an error."""
    remarks = []
    if void := ", ".join(video.name for video in scores.videos if video.has_void):
        remarks.append(f"label 255 is void by the {Rules.davis17.name} rules: such pixels were left out in {void}")
    for video in scores.videos:
        if object_ids := ", ".join(map(str, video.unscored)):
            remarks.append(f"{video.name}: object {object_ids} appears on the last frame only, which is not scored")
    if unannotated := sum(pair.unannotated for pair in scores.pairs.values()):
        remarks.append(f"{counted(unannotated, 'predicted frame')} without an annotation: not scored")
    return remarks


def compare_with_published(dataset: DatasetConfig, weights: Path, scores: SetScores) -> dict[str, Any] | None:
    """Return the published scores of a checkpoint and the differences, as fractions of 1, for scores.json.

    None if no scores are published for the checkpoint, or if the data set was not scored completely.
    """
    measured: Mapping[str, float] = scores.measures or {}
    published = {name: value for name, value in dataset.published.get(weights.stem, {}).items() if name in measured}
    if not published or len(scores.videos) not in dataset.videos:
        return None
    return {
        "dataset": dataset.title,
        "checkpoint": weights.stem,
        "figures": {name: round(percent / 100, 4) for name, percent in published.items()},
        "difference": {name: measured[name] - percent / 100 for name, percent in published.items()},
    }


def describe_comparison(dataset: DatasetConfig, weights: Path, scores: SetScores) -> str | None:
    """Return a line that compares the scores with the published ones or says why they cannot be compared.

    None if the data set has no published scores, or if videos could not be scored.
    """
    measured = scores.measures
    if not dataset.published or measured is None:
        return None
    if len(scores.videos) not in dataset.videos:
        return (
            f"{len(scores.videos)} videos were scored, {dataset.title} has {' or '.join(map(str, dataset.videos))}: "
            f"the published figures ({all_published(dataset)}) do not compare"
        )
    if weights.stem not in dataset.published:
        return f"published for {dataset.title}: {all_published(dataset)}; the weights here are {weights.stem}"
    parts = [
        f"{name} {100 * measured[name]:.1f} here, {percent:.1f} published ({100 * measured[name] - percent:+.1f})"
        for name, percent in dataset.published[weights.stem].items()
        if name in measured
    ]
    return f"{weights.stem} on {dataset.title}: {'; '.join(parts)}"


def all_published(dataset: DatasetConfig) -> str:
    """List all published scores in percent, for example "XMem: J&F 86.2, J 82.9, F 89.5; XMem-s012: J&F 87.7"."""
    return "; ".join(
        f"{checkpoint}: {', '.join(f'{name} {percent:.1f}' for name, percent in figures.items())}"
        for checkpoint, figures in dataset.published.items()
    )
