"""A scored set in words and numbers: scores.csv, scores.json, the table on the terminal."""

import csv
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ..io.atomic import write_json, write_whole
from ..io.versions import versions
from .pairing import count
from .score_types import FIGURES, Measures, Rules, SetScores, VideoScore

PACKAGES = ("xmem-infer", "numpy", "opencv-python", "pillow")  # the figures depend on these
HEADINGS = ("J&F", "J", "F", "J recall", "J decay", "F recall", "F decay")


def write_csv(scores: SetScores, path: Path) -> None:
    """One row per object, per video and, where all videos were scored, for the set; fractions of 1."""
    text = io.StringIO(newline="")
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(("level", "video", "object", "frames", *FIGURES))
    for video in scores.videos:
        for scored in video.objects:
            rows.writerow(("object", video.name, scored.label, len(scored.j), *scored.measures.figures().values()))
        rows.writerow(("video", video.name, "", len(video.frames), *video.measures.figures().values()))
    if scores.measures:
        frames = sum(len(video.frames) for video in scores.videos)
        rows.writerow(("set", "", "", frames, *scores.measures.figures().values()))
    write_whole(path, lambda to: to.write_text(text.getvalue(), encoding="utf-8"))


def write_scores(scores: SetScores, path: Path, worst_frames: int) -> None:
    """scores.json; fractions of 1. The set's figures stand at the top, null unless all videos were scored."""
    figures: dict[str, Any] = scores.measures.figures() if scores.measures else dict.fromkeys(FIGURES)
    content = {
        **figures,
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
        content["mean_of_scored"] = scores.measures_of_scored.figures()
    write_json(path, content)


def video_entry(video: VideoScore, worst_frames: int) -> dict[str, Any]:
    """What scores.json says of one video."""
    return {
        **video.measures.figures(),
        "frames": len(video.frames),
        "objects": {
            str(scored.label): {
                **scored.measures.figures(),
                "frames": len(scored.j),
                "first_frame": video.frames[scored.start],
            }
            for scored in video.objects
        },
        "worst_frames": [{"frame": frame, "J&F": jf} for frame, jf in video.worst_frames(worst_frames)],
    }


def table(scores: SetScores) -> str:
    """The videos and their mean in percent, as columns of text; a mean over some videos only says so."""
    total = len(scores.videos) + len(scores.problems)
    rows = [
        (video.name, str(len(video.objects)), str(len(video.frames)), *percent(video.measures))
        for video in scores.videos
    ]
    if scores.measures_of_scored:
        title = "mean over objects" if scores.measures else f"mean of {len(scores.videos)} of {total} videos only"
        objects, frames = (sum(int(row[column]) for row in rows) for column in (1, 2))
        rows.append((title, str(objects), str(frames), *percent(scores.measures_of_scored)))
    rows = [("video", "objects", "frames", *HEADINGS), *rows]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = [
        "  ".join(
            cell.ljust(width) if i == 0 else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in rows
    ]
    rule = "-" * len(lines[0])
    body = [*lines[1:-1], rule, lines[-1]] if scores.measures_of_scored else lines[1:]
    return "\n".join([f"percent, rules {scores.rules.name}", lines[0], rule, *body])


def percent(measures: Measures) -> Iterator[str]:
    return (f"{100 * figure:.2f}" for figure in measures.figures().values())


def notes(scores: SetScores) -> list[str]:
    """What a reader of the figures should know, though nothing is wrong."""
    found = []
    void = [video.name for video in scores.videos if video.has_void]
    if void:
        found.append(
            f"label 255 is void by the {Rules.davis17.name} rules: such pixels were left out in {', '.join(void)}"
        )
    for video in scores.videos:
        if video.unscored:
            labels = ", ".join(str(label) for label in video.unscored)
            found.append(f"{video.name}: object {labels} appears on the last frame only, which is not scored")
    unannotated = sum(pair.unannotated for pair in scores.pairs.values())
    if unannotated:
        found.append(f"{count(unannotated, 'predicted frame')} without an annotation: not scored")
    return found
