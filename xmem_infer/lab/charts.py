"""Shared look of the reports' pictures: figure size, axes, legend, reproducible PNG files."""

import io
from pathlib import Path
from typing import Any

from PIL import Image

from ..errors import EnvironmentFault
from ..io.atomic import write_whole


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


def save(figure: Any, folder: Path, stem: str) -> None:
    """Write `stem`.png with 256 colours; equal figures give equal bytes. Raises EnvironmentFault."""
    png = io.BytesIO()
    figure.savefig(png, format="png", dpi=110)
    small = Image.open(png).convert("RGB").quantize(256, Image.Quantize.MAXCOVERAGE)  # a third of the bytes
    write_whole(folder / f"{stem}.png", lambda to: small.save(to, format="PNG", optimize=True))
