"""The pictures of the benchmark, drawn from the rows of results.csv: speed-up by workload, and curves."""

from collections.abc import Mapping, Sequence
from itertools import cycle
from pathlib import Path

from ..charts import legend, new_figure, save, style_axes
from .config import CurvesConfig
from .interleaved import Row
from .variants import PUBLISHED_FP32, variant_names
from .workloads import Workload, parse_workload

PALETTE = (
    "#8c2d25", "#cf6a5f", "#8a8a8a", "#9cc7e6", "#4a90c2", "#a5cf9f",
    "#2e7d32", "#b39ddb", "#5e35b1", "#80cbc4", "#00897b", "#e09f3e",
)  # fmt: skip
COLUMNS = 3


def colours() -> dict[str, str]:
    """Return a colour for every variant, with red and grey for the baselines."""
    return dict(zip(variant_names(), cycle(PALETTE), strict=False))


def draw_times(rows: Sequence[Row], workloads: Sequence[str], folder: Path) -> None:
    """Draw a panel per workload with the speed-up of every variant over the published formulation in fp32.

    If the published formulation was not measured on every workload, draw milliseconds per frame instead.
    """
    times = {(row["workload"], row["variant"]): float(row["p50_ms"]) for row in rows}
    shown = [name for name in workloads if any(workload == name for workload, _ in times)]
    variants = [name for name in variant_names() if any((workload, name) in times for workload in shown)]
    relative = all((workload, PUBLISHED_FP32) in times for workload in shown)
    columns = min(COLUMNS, len(shown))
    lines = -(-len(shown) // columns)
    figure = new_figure(1.5 + 3.9 * columns, 0.6 + lines * (0.4 + 0.24 * len(variants)))
    panels = list(figure.subplots(lines, columns, sharex=relative, sharey=True, squeeze=False).flat)
    for panel, workload in zip(panels, shown, strict=False):
        here = {name: times[workload, name] for name in variants if (workload, name) in times}
        lengths = {name: here[PUBLISHED_FP32] / spent if relative else spent for name, spent in here.items()}
        for name, length in lengths.items():
            y, fastest = variants.index(name), here[name] == min(here.values())
            panel.barh(y, length, 0.8, color=colours()[name])
            text = f"{length:.1f}x  ({_milliseconds(here[name])})" if relative else _milliseconds(length)
            panel.text(length, y, f"  {text}", va="center", fontsize=8, weight="bold" if fastest else "normal")
        if relative:
            panel.axvline(1, color=PALETTE[0], linewidth=1, linestyle=":")
        panel.set_title(parse_workload(workload).description, loc="left", fontsize=9)
        panel.set_yticks(range(len(variants)), variants, fontsize=8)
        panel.set_xlim(0, 1.4 * max(panel.get_xlim()[1] / 1.4, *lengths.values()))
        panel.set_xticks([])
        panel.spines[["top", "right", "bottom"]].set_visible(False)
    panels[0].invert_yaxis()
    for panel in panels[len(shown) :]:
        panel.set_visible(False)
    title = "Times as fast as the published formulation in fp32 (ms per frame)" if relative else "ms per frame"
    figure.suptitle(title, x=0.01, ha="left", fontsize=12)
    save(figure, folder, "times")


def draw_curves(rows: Sequence[Row], config: CurvesConfig, folder: Path) -> None:
    """Draw milliseconds per frame against objects, resolution and memory tokens.

    Above each point of the first variant stands the speed-up of the fastest other variant at that point.
    """
    axes, variants = config.axes(), list(dict.fromkeys(config.variants))
    figure = new_figure(4.4 * len(axes), 4.2)
    panels = figure.subplots(1, len(axes))
    for panel, (title, axis) in zip(panels, axes.items(), strict=True):
        lines = [dict(points(axis, variant, rows)) for variant in variants]
        for variant, line in zip(variants, lines, strict=True):
            panel.plot(list(line), list(line.values()), "o-", markersize=4, color=colours()[variant], label=variant)
        for x, slow in lines[0].items() if lines[1:] else ():
            fast = min(line[x] for line in lines[1:])
            panel.plot([x, x], [fast, slow], color="#2e7d32", linewidth=1, linestyle=":")
            panel.annotate(
                f"{slow / fast:.1f}x", (x, slow), (2, 6), textcoords="offset points", ha="right", fontsize=9,
                weight="bold", color="#2e7d32",
            )  # fmt: skip
        panel.set_xticks(list(axis.values()), [f"{x:,.0f}" if x == int(x) else f"{x:.2f}" for x in axis.values()])
        panel.set_xlim(-0.05 * max(axis.values()), 1.05 * max(axis.values()))
        panel.set_ylim(0, 1.12 * max(max(line.values()) for line in lines))
        panel.yaxis.set_major_formatter("{x:,.0f}")
        panel.set_xlabel(title, fontsize=9)
        style_axes(panel)
    panels[0].set_ylabel("ms per frame", fontsize=9)
    legend(figure, panels[0], f"Time per frame around {config.base}, one thing varied at a time, and the speed-up")
    save(figure, folder, "curves")


def points(axis: Mapping[Workload, float], variant: str, rows: Sequence[Row]) -> list[tuple[float, float]]:
    """Return x coordinates and milliseconds per frame of the workloads that were measured with this variant."""
    p50_ms = {row["workload"]: float(row["p50_ms"]) for row in rows if row["variant"] == variant}
    return [(x, p50_ms[workload.name]) for workload, x in axis.items() if workload.name in p50_ms]


def _milliseconds(value: float) -> str:
    return f"{value:,.0f} ms" if value >= 20 else f"{value:.1f} ms"
