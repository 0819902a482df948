"""How the reports' pictures look: sizes, frames, legends, files that repeat to the byte."""

from functools import partial
from pathlib import Path
from typing import Any

from ..errors import EnvironmentFault
from ..io.atomic import write_whole


def new_figure(width: float, height: float) -> Any:
    """A figure in inches. Raises EnvironmentFault without matplotlib."""
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise EnvironmentFault("pictures need matplotlib: `pip install matplotlib`, or the extra `plot`") from error
    return Figure(figsize=(width, height), layout="constrained")


def plain(axes: Any) -> None:
    """Light horizontal lines, no box."""
    axes.grid(axis="y", alpha=0.3)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(labelsize=8)


def legend(figure: Any, axes: Any, title: str) -> None:
    """One legend for all panels, entries once, below; the title above."""
    handles, labels = axes.get_legend_handles_labels()
    entries = dict(zip(labels, handles, strict=True))
    figure.suptitle(title, x=0.01, ha="left", fontsize=11)
    figure.legend(
        entries.values(),
        entries.keys(),
        loc="outside lower center",
        ncols=max(1, min(len(entries), int(figure.get_figwidth() // 1.8))),
        frameon=False,
        fontsize=8,
    )


def save(figure: Any, folder: Path, stem: str) -> None:
    """PNG and SVG; neither dates nor random ids in them: the same figures give the same bytes."""
    import matplotlib

    with matplotlib.rc_context({"svg.hashsalt": "xmem-infer"}):
        for kind in ("png", "svg"):
            metadata = {"Date": None} if kind == "svg" else None
            write_whole(folder / f"{stem}.{kind}", partial(figure.savefig, format=kind, dpi=110, metadata=metadata))
