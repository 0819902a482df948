"""The chart of a scored set: J and F of every video."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np

from ..io.atomic import write_whole
from .score_types import SetScores

MAX_BARS = 60  # videos in the chart, the lowest scores; more would be unreadable
J_COLOUR, F_COLOUR = "#3f72af", "#e8a33d"


def draw_chart(scores: SetScores, paths: Sequence[Path]) -> None:
    """J and F of every video as bars, sorted by J&F; one file per path, its suffix says which kind.

    Raises ImportError without matplotlib, EnvironmentFault where the disk refuses.
    """
    import matplotlib
    from matplotlib.figure import Figure

    videos = sorted(scores.videos, key=lambda video: video.measures.jf)
    title = f"J and F of {len(videos)} videos, percent"
    if len(videos) > MAX_BARS:
        videos, title = videos[:MAX_BARS], f"J and F of the lowest {MAX_BARS} of {len(videos)} videos, percent"
    mean = scores.measures_of_scored
    if mean is not None:
        title += f" (all: J&F {100 * mean.jf:.1f})" if scores.measures else " (some videos could not be scored)"
    figure = Figure(figsize=(8, 1.6 + 0.34 * len(videos)), layout="constrained")
    axes = figure.add_subplot()
    rows = np.arange(len(videos))
    for offset, colour, name, values in (
        (-0.2, J_COLOUR, "J (region)", [100 * video.measures.j for video in videos]),
        (0.2, F_COLOUR, "F (boundary)", [100 * video.measures.f for video in videos]),
    ):
        axes.barh(rows + offset, values, height=0.36, color=colour, label=name)
    for row, video in zip(rows, videos, strict=True):
        axes.text(101.5, float(row), f"{100 * video.measures.jf:.1f}", va="center", fontsize=9)
    axes.set_yticks(rows, [video.name for video in videos])
    axes.set_ylim(len(videos) - 0.4, -0.6)
    axes.set_xlim(0, 100)
    axes.set_title(title, loc="left", fontsize=11)
    axes.text(101.5, -0.62, "J&F", va="bottom", fontsize=9)
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.8 / (1 + len(videos))), ncols=2, frameon=False)
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
