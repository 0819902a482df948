"""The embedded model beside the baselines: same clips, same scorer, one table."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ...config import MemoryConfig, Precision, RuntimeConfig
from ...errors import UsageError
from ...interrupts import check
from ...io.atomic import write_whole
from ...scoring.scores import Measures, VideoScore, mean_measures
from ...weights.build import load_network
from .baselines import carry_by_flow, copy_first
from .validation import Clip, Track, score, tracker

START, END = "<!-- scores: written by scripts/baselines.py -->", "<!-- end of scores -->"


@dataclass(frozen=True)
class Row:
    """One method on one set of clips."""

    method: str
    videos: tuple[VideoScore, ...]

    @property
    def measures(self) -> Measures:
        """Mean over objects, as in DAVIS."""
        return mean_measures([scored.measures for video in self.videos for scored in video.objects])


def methods(weights: Path | None, sizes: Iterable[int], precisions: Iterable[Precision]) -> dict[str, Track]:
    """Both baselines, and the network of `weights` at each short side (px) and precision."""
    found: dict[str, Track] = {"first mask copied": copy_first, "first mask carried by DIS flow": carry_by_flow}
    if weights is not None:
        network = load_network(weights).network
        for size in sizes:
            for precision in precisions:
                track = tracker(network, size, RuntimeConfig(precision=precision), MemoryConfig())
                found[f"{weights.stem} {size}p {precision.value}"] = track
    return found


def compare(clips: list[Clip], tracks: dict[str, Track], say: Callable[[str], None]) -> list[Row]:
    """Score every method on every clip; `say` gets a line after each method."""
    rows = []
    for name, track in tracks.items():
        scored = []
        for clip in clips:
            check()
            scored.append(score(clip, track))
        row = Row(name, tuple(scored))
        say(f"{name}: J&F {row.measures.overall:.3f}")
        rows.append(row)
    return rows


def markdown(title: str, rows: list[Row]) -> str:
    """A table: J&F, J and F of the set, then J&F of each clip; in per cent."""
    clips = [video.name for video in rows[0].videos]
    objects = sum(len(video.objects) for video in rows[0].videos)
    head = ["method", "J&F", "J", "F", *clips]
    lines = [
        f"**{title}** ({len(clips)} clips, {objects} objects; mean over objects)",
        "",
        "| " + " | ".join(head) + " |",
        "|---" + "|---:" * (len(head) - 1) + "|",
    ]
    for row in rows:
        m = row.measures
        figures = [m["J&F"], m["J"], m["F"], *(video.measures.overall for video in row.videos)]
        lines.append(f"| {row.method} | " + " | ".join(f"{100 * figure:.1f}" for figure in figures) + " |")
    return "\n".join(lines)


def below_baselines(rows: list[Row]) -> dict[str, list[str]]:
    """By method that is no baseline: the clips on which it is below both."""
    worse = np.min([[video.measures.overall for video in row.videos] for row in rows[:2]], axis=0)
    return {
        row.method: [v.name for v, limit in zip(row.videos, worse, strict=True) if v.measures.overall < limit]
        for row in rows[2:]
    }


def check_card(card: Path) -> None:
    """UsageError for a model card that scores cannot be put into."""
    _split(card)


def fill_card(card: Path, text: str) -> None:
    """Put the tables between the two marks of the model card, atomically. UsageError where it has none."""
    before, after = _split(card)
    write_whole(card, lambda to: to.write_text(f"{before}{START}\n\n{text}\n\n{END}{after}", encoding="utf-8"))


def _split(card: Path) -> tuple[str, str]:
    """What stands before the marks and after them."""
    if not card.is_file():
        raise UsageError(f"there is no model card {card}")
    before, start, rest = card.read_text(encoding="utf-8").partition(START)
    _, end, after = rest.partition(END)
    if not start or not end:
        raise UsageError(f"{card} has no lines {START!r} and {END!r} to put the scores between")
    return before, after
