"""A scored set in words and numbers: the table on the terminal, scores.csv, scores.json, pictures."""

import csv
import io
import logging
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from tqdm import tqdm

from ..io.atomic import disk_fault, remove, write_json, write_whole
from ..io.listing import counted
from ..io.versions import versions
from .parallel import in_parallel
from .pictures import draw_chart, draw_sheet, sheet_jobs
from .scores import Measures, Rules, SetScores, VideoScore, figure_names

log = logging.getLogger(__name__)
tables = logging.getLogger("xmem_infer.tables")  # what belongs on standard output


def log_scores(scores: SetScores, remarks: Iterable[str]) -> None:
    """The table to standard output; what was not scored and the remarks to standard error."""
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
) -> list[str]:
    """Write scores.csv, scores.png, scores.svg, worst/<video>.png and, last, scores.json below `output_dir`.

    Pictures of an older run that this one does not replace are removed, so that all files agree.

    Args:
        scores: What to write.
        output_dir: Where.
        images: The videos' frames for the sheets; None: JPEGImages beside Annotations.
        worst_frames: How many on each sheet; 0: no sheets.
        workers: Processes that draw them.
        published: The published figures for scores.json, see `published.compare`.

    Returns remarks for the reader. Raises EnvironmentFault where the disk refuses.
    """
    remarks = notes(scores)
    sheets, charts = output_dir / "worst", [output_dir / "scores.png", output_dir / "scores.svg"]
    stale = {sheets / f"{name}.png" for name in (*scores.pairs, *scores.problems)} | set(charts)
    if worst_frames:
        jobs = sheet_jobs(scores, worst_frames, images, sheets)
        drawn = in_parallel(draw_sheet, jobs, workers)
        stale -= set(tqdm(drawn, total=len(jobs), desc="worst frames", unit="video", disable=None))
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
    return remarks


def write_csv(scores: SetScores, path: Path) -> None:
    """One row per object, per video and, where all videos were scored, for the set; fractions of 1."""
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
    """scores.json; fractions of 1. The set's figures stand at the top, null unless all videos were scored."""
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
    """What scores.json says of one video."""
    overall = next(iter(video.measures))
    return {
        **video.measures,
        "frames": len(video.frames),
        "objects": {
            str(scored.object_id): {
                **scored.measures,
                "frames": len(scored.overall),
                "first_frame": video.frames[scored.start],
            }
            for scored in video.objects
        },
        "worst_frames": [{"frame": frame, overall: value} for frame, value in video.worst_frames(worst_frames)],
    }


def table(scores: SetScores) -> str:
    """The videos and their mean in percent, as columns of text; a mean over some videos only says so."""
    total = len(scores.videos) + len(scores.problems)
    headings = [name.replace("_", " ") for name in figure_names(scores.metrics)]
    rows = [["video", "objects", "frames", *headings]]
    for video in scores.videos:
        rows.append([video.name, str(len(video.objects)), str(len(video.frames)), *percent(video.measures)])
    if scores.measures_of_scored:
        title = "mean over objects" if scores.measures else f"mean of {len(scores.videos)} of {total} videos only"
        objects, frames = (sum(int(row[column]) for row in rows[1:]) for column in (1, 2))
        rows.append([title, str(objects), str(frames), *percent(scores.measures_of_scored)])
    first, *widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [
        "  ".join([name.ljust(first), *(cell.rjust(width) for cell, width in zip(cells, widths, strict=True))])
        for name, *cells in rows
    ]
    rule = "-" * len(lines[0])
    body = [*lines[1:-1], rule, lines[-1]] if scores.measures_of_scored else lines[1:]
    return "\n".join([f"percent, rules {scores.rules.name}", lines[0], rule, *body])


def percent(measures: Measures) -> list[str]:
    return [f"{100 * figure:.2f}" for figure in measures.values()]


def notes(scores: SetScores) -> list[str]:
    """What a reader of the figures should know, though nothing is wrong."""
    found = []
    if void := ", ".join(video.name for video in scores.videos if video.has_void):
        found.append(f"label 255 is void by the {Rules.davis17.name} rules: such pixels were left out in {void}")
    for video in scores.videos:
        if labels := ", ".join(map(str, video.unscored)):
            found.append(f"{video.name}: object {labels} appears on the last frame only, which is not scored")
    if unannotated := sum(pair.unannotated for pair in scores.pairs.values()):
        found.append(f"{counted(unannotated, 'predicted frame')} without an annotation: not scored")
    return found
