"""How well the signs of drift detect bad masks: how many frames with low and with high scores are flagged."""

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from ..engine.drift import APPEARANCE, AREA, JUMPED, LOST, UNSURE
from ..errors import UsageError
from ..outputs.files import read_confidence
from ..scoring.score_folders import score_folders
from ..scoring.scores import Rules
from .report import table

ADVICE = "give output folders of eval.py and their true masks"
BAD, GOOD = 50, 80  # percent J&F
GROUPS = (f"J&F under {BAD}", "between", f"J&F of {GOOD} or more")


def drift_figures(runs: Sequence[Path], annotations: Sequence[Path]) -> str:
    """Count the signs of drift by the J&F of the scored frames of each object. Return a Markdown table.

    Args:
        runs: Output folders of `eval.py`, with masks and confidence.
        annotations: For each run, the folder of true masks of every frame.

    Raises:
        UsageError: No frame has a score, or a scored video has no confidence table.
    """
    counts = {group: Counter[str]() for group in GROUPS}
    for run, truth in zip(runs, annotations, strict=True):
        for jf, signs in _scored_frames(run, truth):
            group = GROUPS[0 if jf < BAD else 2 if jf >= GOOD else 1]
            counts[group].update(("frames", *signs, *(["any sign"] if signs else [])))
    if not any(counts.values()):
        raise UsageError(f"no frame has a score and a confidence: {ADVICE}")
    columns = ("any sign", LOST, JUMPED, AREA, APPEARANCE, UNSURE)

    def share(count: Counter[str], sign: str) -> str:
        return f"{count[sign]} ({count[sign] / count['frames']:.1%})" if count[sign] else "0"

    rows = [(group, count["frames"], *(share(count, sign) for sign in columns)) for group, count in counts.items()]
    return table(("frames of an object", "number", *columns), rows)


def _scored_frames(run: Path, truth: Path) -> Iterator[tuple[float, tuple[str, ...]]]:
    """Yield J&F in percent and the signs of drift of every scored frame of every object."""
    scores = score_folders(run, truth)
    for video in scores.videos:
        path = run / "confidence" / f"{video.name}.csv"
        if not path.is_file():
            raise UsageError(f"no frame has a score and a confidence in {video.name}: {path} is missing; {ADVICE}")
        confidence = read_confidence(path)
        for scored in video.objects:
            for frame, overall in zip(video.frames[scored.start :], scored.overall, strict=True):
                objects = confidence[frame]
                if scores.rules is not Rules.davis16:  # which scores all nonzero labels as one object
                    objects = {id: objects[id] for id in (scored.object_id,) if id in objects}
                yield 100 * overall, tuple(dict.fromkeys(sign for seen in objects.values() for sign in seen.drift))
