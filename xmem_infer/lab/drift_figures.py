"""How well the signs of drift tell bad masks: flagged frames among those whose scores are low, and high."""

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from ..engine.drift import APPEARANCE, AREA, JUMPED, LOST, UNSURE
from ..outputs.files import read_confidence
from ..scoring.score_folders import score_folders
from ..scoring.scores import Rules
from .report import table

BAD, GOOD = 50, 80  # percent J&F
GROUPS = (f"J&F under {BAD}", "between", f"J&F of {GOOD} or more")


def drift_figures(runs: Sequence[Path], annotations: Sequence[Path]) -> str:
    """A table: of the scored frames of each object, by their J&F, how many have which signs.

    Args:
        runs: Output folders of `eval.py`, with masks and confidence.
        annotations: For each, the true masks of every frame.

    Raises:
        UsageError: There is nothing to compare.
    """
    counts = {group: Counter[str]() for group in GROUPS}
    for run, truth in zip(runs, annotations, strict=True):
        for jf, signs in _scored_frames(run, truth):
            group = GROUPS[0 if jf < BAD else 2 if jf >= GOOD else 1]
            counts[group].update(("frames", *signs, *(["any sign"] if signs else [])))
    columns = ("any sign", LOST, JUMPED, AREA, APPEARANCE, UNSURE)

    def share(found: Counter[str], sign: str) -> str:
        return f"{found[sign]} ({found[sign] / found['frames']:.1%})" if found[sign] else "0"

    rows = [(group, found["frames"], *(share(found, sign) for sign in columns)) for group, found in counts.items()]
    return table(("frames of an object", "number", *columns), rows)


def _scored_frames(run: Path, truth: Path) -> Iterator[tuple[float, tuple[str, ...]]]:
    """J&F in percent and signs of every frame of every object that is scored."""
    scores = score_folders(run, truth)
    for video in scores.videos:
        confidence = read_confidence(run / "confidence" / f"{video.name}.csv")
        for scored in video.objects:
            for frame, overall in zip(video.frames[scored.start :], scored.overall, strict=True):
                seen = confidence[frame]
                if scores.rules is not Rules.davis16:  # there whatever is not 0 is the one object
                    seen = {scored.object_id: seen[scored.object_id]} if scored.object_id in seen else {}
                yield 100 * overall, tuple(dict.fromkeys(sign for one in seen.values() for sign in one.drift))
