"""The pictures of the benchmark, drawn from the rows of results.csv: speed-up by workload, and curves."""

from collections.abc import Mapping, Sequence
from itertools import cycle
from pathlib import Path

from ..charts import legend, new_figure, plain, save
from .config import CurvesConfig
from .interleaved import Row
from .variants import PUBLISHED_FP32, variant_names
from .workloads import Workload, parse_workload

PALETTE = ("#8c2d25", "#cf6a5f", "#8a8a8a", "#9cc7e6", "#4a90c2", "#a5cf9f", "#2e7d32", "#b39ddb", "#5e35b1", "#00897b")
COLUMNS = 3


def colours() -> dict[str, str]:
    """A colour for every variant: reds and grey for the baselines."""
    return dict(zip(variant_names(), cycle(PALETTE), strict=False))


def draw_times(rows: Sequence[Row], workloads: Sequence[str], folder: Path) -> None:
    """A panel per workload: how many times as fast every variant is as the published formulation in fp32, which is
    1.0x; milliseconds alone where that was not measured."""
    times = {(row["workload"], row["variant"]): float(row["p50_ms"]) for row in rows}
    shown = [name for name in workloads if any(workload == name for workload, _ in times)]
    variants = [name for name in variant_names() if any((workload, name) in times for workload in shown)]
    relative = all((workload, PUBLISHED_FP32) in times for workload in shown)
    columns = min(COLUMNS, len(shown))
    lines = -(-len(shown) // columns)
    figure = new_figure(1.5 + 3.9 * columns, 0.6 + lines * (0.4 + 0.24 * len(variants)))
    panels = list(figure.subplots(lines, columns, sharex=relative, sharey=True, squeeze=False).flat)
    for panel, workload in zip(panels, shown, strict=False):
        found = {name: times[workload, name] for name in variants if (workload, name) in times}
        lengths = {name: found[PUBLISHED_FP32] / spent if relative else spent for name, spent in found.items()}
        for name, length in lengths.items():
            y, fastest = variants.index(name), found[name] == min(found.values())
            panel.barh(y, length, 0.8, color=colours()[name])
            text = f"{length:.1f}x  ({_milliseconds(found[name])})" if relative else _milliseconds(length)
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
    """Milliseconds per frame against objects, resolution and memory; above each point of the first variant, how many
    times as fast the fastest of the others is there."""
    axes, variants = config.axes(), list(dict.fromkeys(config.variants))
    figure = new_figure(4.4 * len(axes), 4.2)
    panels = figure.subplots(1, len(axes))
    for panel, (title, axis) in zip(panels, axes.items(), strict=True):
        lines = [dict(points(axis, variant, rows)) for variant in variants]
        for variant, line in zip(variants, lines, strict=True):
            panel.plot(list(line), list(line.values()), "o-", markersize=4, color=colours()[variant], label=variant)
        for place, slow in lines[0].items() if lines[1:] else ():
            fast = min(line[place] for line in lines[1:])
            panel.plot([place, place], [fast, slow], color="#2e7d32", linewidth=1, linestyle=":")
            panel.annotate(
                f"{slow / fast:.1f}x", (place, slow), (2, 6), textcoords="offset points", ha="right", fontsize=9,
                weight="bold", color="#2e7d32",
            )  # fmt: skip
        panel.set_xticks(list(axis.values()), [_place(place) for place in axis.values()])
        panel.set_xlim(-0.05 * max(axis.values()), 1.05 * max(axis.values()))
        panel.set_ylim(0, 1.12 * max(max(line.values()) for line in lines))
        panel.yaxis.set_major_formatter("{x:,.0f}")
        panel.set_xlabel(title, fontsize=9)
        plain(panel)
    panels[0].set_ylabel("ms per frame", fontsize=9)
    legend(figure, panels[0], f"Time per frame around {config.base}, one thing varied at a time, and the speed-up")
    save(figure, folder, "curves")


def points(axis: Mapping[Workload, float], variant: str, rows: Sequence[Row]) -> list[tuple[float, float]]:
    """Where it stands and milliseconds per frame, of the workloads that were measured."""
    found = {row["workload"]: float(row["p50_ms"]) for row in rows if row["variant"] == variant}
    return [(place, found[workload.name]) for workload, place in axis.items() if workload.name in found]


def _milliseconds(value: float) -> str:
    return f"{value:,.0f} ms" if value >= 20 else f"{value:.1f} ms"


def _place(value: float) -> str:
    return f"{value:,.0f}" if value == int(value) else f"{value:.2f}"
