"""The pictures of an ablation: savings, memory by frame."""

from collections.abc import Sequence
from itertools import product
from pathlib import Path

from ..charts import legend, new_figure, save, style_axes
from .comparisons import DOCUMENTED_SAVING, Saving
from .runs import Run, grouped

COLOURS = {
    "set_grad_enabled": "#1f4e79",
    "no_grad": "#4a90c2",
    "inference_mode": "#9cc7e6",
    "enable_grad_detached": "#e8a33d",
    "enable_grad": "#b8433a",
}
# The curves of the modes without gradients coincide, so the lower ones are drawn wider to stay visible.
WIDTHS = {"set_grad_enabled": 7.0, "no_grad": 4.0, "inference_mode": 1.6}


def draw_savings(savings: Sequence[Saving], folder: Path) -> None:
    """Draw the memory saved by switching gradients off against both baselines, with a line at the documented 30%."""
    conditions = list(dict.fromkeys((saving.scene, saving.precision) for saving in savings))
    baselines = list(dict.fromkeys(saving.baseline.name for saving in savings))
    figure = new_figure(max(7.5, 2.0 + 0.95 * len(conditions)), 4.4)
    axes = figure.add_subplot()
    for saving in savings:
        name, bare = saving.baseline.name, 100 * saving.without_network
        height = 100 * saving.with_network
        place = (baselines.index(name) - (len(baselines) - 1) / 2) * 0.84 / len(baselines)
        x = conditions.index((saving.scene, saving.precision)) + place
        hatch = "//" if saving.at_least else None
        axes.bar(x, height, 0.8 / len(baselines), color=COLOURS[name], label=name, hatch=hatch, edgecolor="white")
        axes.plot([x, x], [height, bare], color="#555555", linewidth=1)
        text = f"{'oom ' if saving.at_least else ''}{height:.0f}"
        axes.text(x, max(height, bare) + 1.5, text, ha="center", va="bottom", fontsize=8)
    names = [f"{precision.name}\n{str(scene).replace(', ', chr(10))}" for scene, precision in conditions]
    axes.set_xticks(range(len(names)), names, fontsize=8)
    axes.axhline(100 * DOCUMENTED_SAVING, color="#2e7d32", linestyle="--", linewidth=1.5, label="documented: 30%")
    axes.set_ylim(min(0.0, *(100 * saving.with_network for saving in savings)), 115)
    style_axes(axes)
    title = "Peak memory saved by switching gradients off, percent (line: without the network)"
    legend(figure, axes, title)
    save(figure, folder, "saving")


def draw_by_frame(runs: Sequence[Run], folder: Path, ceiling_gb: float) -> None:
    """Draw the peak within each frame, a panel per scene and precision, with a cross where a run was stopped."""
    conditions = grouped(runs, lambda run: run.condition)
    scenes, precisions = dict.fromkeys(scene for scene, _ in conditions), dict.fromkeys(one for _, one in conditions)
    figure = new_figure(0.8 + 4.2 * len(precisions), 0.9 + 2.5 * len(scenes))
    grid = figure.subplots(len(scenes), len(precisions), squeeze=False)
    for axes, (scene, precision) in zip(grid.flat, product(scenes, precisions), strict=True):
        here = {run.mode.name: run for run in conditions[scene, precision]}
        for mode in (mode for mode in COLOURS if mode in here):
            peaks = [peak / 1e6 for peak in here[mode].frame_peak_bytes]
            axes.plot(peaks, color=COLOURS[mode], linewidth=WIDTHS.get(mode, 2.0), label=mode)
            if here[mode].status == "oom" and peaks:
                label = f"stopped at {ceiling_gb:g} GB"
                axes.plot(len(peaks) - 1, peaks[-1], "x", color="black", markersize=9, label=label)
        axes.set_title(f"{scene}, {precision.name}", loc="left", fontsize=9)
        axes.set_xlim(-0.3, scene.frames - 0.7)
        axes.set_ylim(bottom=0)
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.set_xlabel("frame", fontsize=8)
        style_axes(axes)
    legend(figure, max(grid.flat, key=lambda axes: len(axes.lines)), "Peak memory in tensors within each frame, MB")
    save(figure, folder, "memory_by_frame")
