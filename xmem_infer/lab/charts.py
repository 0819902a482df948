"""Shared look of the reports' pictures: figure size, axes, legend, grouped bars, reproducible PNG files."""

import io
from collections.abc import Collection, Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import Any

from PIL import Image

from ..errors import EnvironmentFault
from ..io.atomic import write_whole

Bar = tuple[str, int]  # series, index of the group


def new_figure(width: float, height: float) -> Any:
    """Create a figure; width and height in inches. Raises EnvironmentFault without matplotlib."""
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise EnvironmentFault("pictures need matplotlib: `pip install matplotlib`, or the extra `plot`") from error
    return Figure(figsize=(width, height), layout="constrained")


def style_axes(axes: Any) -> None:
    """Style axes: light horizontal grid lines, no box."""
    axes.grid(axis="y", alpha=0.3)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(labelsize=8)


def legend(figure: Any, axes: Any, title: str) -> None:
    """Add the title above and one legend for all panels below, each entry once."""
    handles, labels = axes.get_legend_handles_labels()
    entries = dict(zip(labels, handles, strict=True))
    figure.suptitle(title, x=0.01, ha="left", fontsize=11)
    columns = max(1, min(len(entries), int(figure.get_figwidth() // 2.2)))
    figure.legend(
        entries.values(), entries.keys(), loc="outside lower center", ncols=columns, frameon=False, fontsize=8
    )


def grouped_bars(
    axes: Any, groups: Sequence[str], series: Sequence[str], heights: Mapping[Bar, float | None],
    colours: Mapping[str, str], *, form: str = ",.0f", size: float = 6.5, rotation: int = 90,
    whiskers: Mapping[Bar, float | None] | None = None, stopped: Collection[Bar] = (),
) -> None:  # fmt: skip
    """Draw bars side by side, each with its value on top.

    Args:
        axes: matplotlib axes to draw on.
        groups: A label for each group.
        series: The series in the order of their bars within a group.
        heights: By bar; no bar is drawn for None or a missing one.
        colours: By series.
        form: Format of the values.
        size: Font size of the values, in points.
        rotation: Rotation of the values, in degrees.
        whiskers: By bar, where the line that starts at the top of the bar ends.
        stopped: Bars of runs that ended early: they are hatched and marked `oom`.
    """
    whiskers = whiskers or {}
    top = max(filter(None, (*heights.values(), *whiskers.values())), default=1.0)
    for bar in product(series, range(len(groups))):
        if (height := heights.get(bar)) is None:
            continue
        name, group = bar
        x = group + (series.index(name) - (len(series) - 1) / 2) * 0.84 / len(series)
        oom = bar in stopped
        axes.bar(
            x, height, 0.8 / len(series), color=colours[name], label=name, hatch="//" if oom else None,
            edgecolor="white", linewidth=0.5,
        )  # fmt: skip
        upper = max(height, whiskers.get(bar) or 0.0)
        axes.plot([x, x], [height, upper], color="#555555", linewidth=1)
        text = f"{'oom ' if oom else ''}{height:{form}}"
        axes.text(x, upper + 0.015 * top, text, ha="center", va="bottom", fontsize=size, rotation=rotation)
    axes.set_xticks(range(len(groups)), groups, fontsize=8)
    axes.set_ylim(0, 1.15 * top)


def save(figure: Any, folder: Path, stem: str) -> None:
    """Write `stem`.png with 256 colours; equal figures give equal bytes. Raises EnvironmentFault."""
    png = io.BytesIO()
    figure.savefig(png, format="png", dpi=110)
    small = Image.open(png).convert("RGB").quantize(256, Image.Quantize.MAXCOVERAGE)  # a third of the bytes
    write_whole(folder / f"{stem}.png", lambda to: small.save(to, format="PNG", optimize=True))
