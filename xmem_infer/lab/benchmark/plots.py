"""The pictures of the benchmark, drawn from the rows of results.csv: speed-up by workload, and curves."""

from collections.abc import Sequence
from itertools import cycle
from pathlib import Path

from ..charts import grouped_bars, legend, new_figure, plain, save
from .config import CurvesConfig
from .curves import axes_of, points
from .interleaved import Row
from .variants import PUBLISHED_FP32, variant_names

PALETTE = ("#8c2d25", "#cf6a5f", "#8a8a8a", "#9cc7e6", "#4a90c2", "#e8c33d", "#2e7d32", "#b39ddb", "#5e35b1", "#00897b")


def colours() -> dict[str, str]:
    """A colour for every variant: reds and grey for the baselines."""
    return dict(zip(variant_names(), cycle(PALETTE), strict=False))


def draw_times(rows: Sequence[Row], workloads: Sequence[str], folder: Path) -> None:
    """How many times as fast as the published formulation in fp32; milliseconds where that was not measured."""
    times = {(row["workload"], row["variant"]): float(row["p50_ms"]) for row in rows}
    shown = [name for name in workloads if any(workload == name for workload, _ in times)]
    variants = [name for name in variant_names() if any(variant == name for _, variant in times)]
    relative = all((workload, PUBLISHED_FP32) in times for workload in shown)

    def height(workload: str, variant: str) -> float | None:
        spent = times.get((workload, variant))
        return times[workload, PUBLISHED_FP32] / spent if relative and spent else spent

    labels = []
    for workload in shown:
        spent = [times[workload, variant] for variant in variants if (workload, variant) in times]
        name = workload.replace("_long", "\nlong").replace("tiny_", "tiny\n")
        labels.append(f"{name}\n{_short(spent[0])} -> {_short(min(spent))} ms")
    figure = new_figure(max(7.0, 1.5 + 0.22 * len(shown) * (len(variants) + 1)), 4.6)
    axes = figure.subplots()
    heights = {variant: [height(workload, variant) for workload in shown] for variant in variants}
    grouped_bars(axes, labels, heights, colours(), form=".1f" if relative else ",.0f", rotation=0 if relative else 90)
    if relative:
        axes.axhline(1, color=PALETTE[0], linewidth=1)
    plain(axes)
    title = "Times as fast as the published formulation in fp32" if relative else "Milliseconds per frame"
    legend(figure, axes, f"{title}, by workload; below each, ms per frame of {variants[0]} and of the fastest")
    save(figure, folder, "times")


def draw_curves(rows: Sequence[Row], config: CurvesConfig, folder: Path) -> None:
    """Milliseconds per frame against objects, resolution and memory; at each point how often as fast as the first."""
    found_axes, variants = axes_of(config), list(dict.fromkeys(config.variants))
    figure = new_figure(4.2 * len(found_axes), 3.9)
    panels = figure.subplots(1, len(found_axes))
    for panel, (title, axis) in zip(panels, found_axes.items(), strict=True):
        first = dict(points(axis, variants[0], rows))
        for variant in variants:
            line = points(axis, variant, rows)
            panel.plot(*zip(*line, strict=True), marker="o", markersize=4, color=colours()[variant], label=variant)
            for place, spent in line if variant != variants[0] else ():
                text = f"{first[place] / spent:.1f}x"
                panel.annotate(text, (place, spent), (3, -11), textcoords="offset points", fontsize=8)
            if variant != variants[0]:
                panel.fill_between(list(first), [y for _, y in line], list(first.values()), color="#2e7d32", alpha=0.07)
        panel.set_xlim(0, 1.08 * max(first))
        panel.set_ylim(0, 1.1 * max(first.values()))
        panel.set_xlabel(title, fontsize=8)
        plain(panel)
    panels[0].set_ylabel("ms per frame", fontsize=8)
    legend(figure, panels[0], f"Time per frame around {config.base}, one thing varied at a time")
    save(figure, folder, "curves")


def _short(value: float) -> str:
    return f"{value:,.0f}" if value >= 20 else f"{value:.1f}"
