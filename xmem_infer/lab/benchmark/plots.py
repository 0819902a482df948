"""The pictures of the benchmark: bars by workload, curves.."""

from pathlib import Path
from typing import Any

from ..charts import legend, new_figure, plain, save
from .config import PUBLISHED_FP32, VARIANTS
from .curves import axes_of, points
from .findings import Findings

COLOURS = dict(
    zip(
        VARIANTS,
        ("#8c2d25", "#cf6a5f", "#8a8a8a", "#9cc7e6", "#4a90c2", "#e8c33d", "#2e7d32", "#b39ddb", "#5e35b1"),
        strict=True,
    )
)


def draw_times(findings: Findings, folder: Path) -> None:
    """Milliseconds per frame (logarithmic), and how many times faster than the published formulation in fp32."""
    workloads = findings.asked_for()
    variants = [name for name in VARIANTS if any(line.variant == name for line in findings.lines)]
    figure = new_figure(max(7.0, 1.5 + 0.22 * len(workloads) * (len(variants) + 1)), 7.0)
    above, below = figure.subplots(2, 1, sharex=True)
    for offset, variant in enumerate(variants):
        label: str | None = variant
        for x, workload in enumerate(workloads):
            line = next((line for line in findings.of(workload) if line.variant == variant), None)
            if line is None:
                continue
            at = x + (offset - (len(variants) - 1) / 2) * 0.86 / len(variants)
            _bar(above, at, line.frame_ms, variant, len(variants), label=label)
            label = None
            ratio = findings.ratio(line, PUBLISHED_FP32)
            if ratio is not None:
                _bar(below, at, ratio, variant, len(variants))
    above.set_yscale("log")
    above.yaxis.set_major_formatter(lambda value, position: f"{value:,.0f}")
    above.minorticks_off()  # every bar bears its figure
    above.set_title("Milliseconds per frame, logarithmic", loc="left", fontsize=9)
    below.set_title("Times as fast as the published formulation in fp32", loc="left", fontsize=9)
    below.set_xticks(
        range(len(workloads)),
        [workload.name.replace("_long", "\nlong").replace("tiny_", "tiny\n") for workload in workloads],
        fontsize=8,
    )
    for axes in (above, below):
        low, high = axes.get_ylim()
        axes.set_ylim(low, high * (1.8 if axes is above else 1.12))
        plain(axes)
    legend(figure, above, "Time per frame by workload, memory full")
    save(figure, folder, "times")


def draw_curves(findings: Findings, folder: Path) -> None:
    """Milliseconds per frame against objects, resolution and memory; a row of panels per variant, each to its scale."""
    axes_found, variants = axes_of(findings.config.curve), list(dict.fromkeys(findings.config.curve.variants))
    figure = new_figure(3.9 * len(axes_found), 0.9 + 2.5 * len(variants))
    grid = figure.subplots(len(variants), len(axes_found), squeeze=False)
    for row, variant in zip(grid, variants, strict=True):
        for panel, axis in zip(row, axes_found, strict=True):
            found = points(axis, variant, findings.lines)
            panel.plot(*zip(*found, strict=True), marker="o", markersize=4, color=COLOURS[variant], label=variant)
            for at, spent in found:
                panel.annotate(_short(spent), (at, spent), (0, 6), textcoords="offset points", fontsize=7, ha="center")
            panel.set_xlim(0, 1.08 * found[-1][0])
            panel.set_ylim(0, 1.2 * max(spent for _, spent in found))
            panel.set_xlabel(axis.title, fontsize=8)
            plain(panel)
        row[0].set_ylabel(f"{variant}, ms per frame", fontsize=8)
    figure.suptitle(
        f"Time per frame around {findings.config.curve.base}, one thing varied at a time",
        x=0.01,
        ha="left",
        fontsize=11,
    )
    save(figure, folder, "curves")


def _bar(axes: Any, at: float, height: float, variant: str, of: int, label: str | None = None) -> None:
    axes.bar(at, height, 0.8 / of, color=COLOURS[variant], label=label, edgecolor="white", linewidth=0.5)
    axes.annotate(
        _short(height), (at, height), (0, 2), textcoords="offset points", ha="center", fontsize=6, rotation=90
    )


def _short(value: float) -> str:
    return f"{value:,.0f}" if value >= 20 else f"{value:.1f}"
