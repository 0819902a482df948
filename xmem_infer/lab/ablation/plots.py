"""The pictures of an ablation: peak memory, savings, memory by frame, time, agreement of masks."""

from collections.abc import Callable, Sequence
from itertools import product
from pathlib import Path

from ...config import Precision
from ..charts import grouped_bars, legend, new_figure, save, style_axes
from .comparisons import DOCUMENTED_SAVING, Agreement, Saving
from .plan import Scene
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
PRECISION_COLOURS = {"fp32": "#3f72af", "tf32": "#6aa84f", "fp16": "#a64d79", "bf16": "#e8a33d"}
MB = 1e6
Value = Callable[[Run], float | None]


def draw_memory(runs: Sequence[Run], folder: Path) -> None:
    """Draw peak tensor memory by mode, a panel per precision."""
    title = "Peak memory in tensors, MB"
    _by_mode(runs, folder, "memory", title, lambda run: run.peak_tensor_bytes and run.peak_tensor_bytes / MB)


def draw_time(runs: Sequence[Run], folder: Path) -> None:
    """Draw median time per frame by mode with whiskers to the 95th percentile, a panel per precision."""
    title = "Time per frame, ms (bar: p50, whisker: p95)"
    _by_mode(runs, folder, "time", title, lambda run: run.p50_ms, lambda run: run.p95_ms)


def _by_mode(
    runs: Sequence[Run], folder: Path, stem: str, title: str, height: Value, whisker: Value = lambda run: None
) -> None:
    scenes = list(dict.fromkeys(run.scene for run in runs))
    by_precision = grouped(runs, lambda run: run.precision)
    modes = [mode for mode in COLOURS if any(run.mode.name == mode for run in runs)]
    figure = new_figure(max(6.0, 1.2 + 1.5 * len(scenes) * len(by_precision)), 4.4)
    panels = figure.subplots(1, len(by_precision), sharey=True, squeeze=False)[0]
    tops = []
    for axes, (precision, here) in zip(panels, by_precision.items(), strict=True):
        bars = {(run.mode.name, scenes.index(run.scene)): run for run in here}
        heights, whiskers = ({bar: value(run) for bar, run in bars.items()} for value in (height, whisker))
        stopped = [bar for bar, run in bars.items() if run.status == "oom"]
        groups = [_scene_label(scene, scenes) for scene in scenes]
        grouped_bars(axes, groups, modes, heights, COLOURS, whiskers=whiskers, stopped=stopped)
        axes.set_title(precision.name, loc="left", fontsize=10)
        style_axes(axes)
        tops.append(axes.get_ylim()[1])
    panels[0].set_ylim(0, max(tops))
    legend(figure, panels[0], title)
    save(figure, folder, stem)


def draw_savings(savings: Sequence[Saving], folder: Path) -> None:
    """Draw the memory saved by switching gradients off against both baselines, with a line at the documented 30%."""
    conditions = list(dict.fromkeys((saving.scene, saving.precision) for saving in savings))
    scenes = list(dict.fromkeys(scene for scene, _ in conditions))
    baselines = list(dict.fromkeys(saving.baseline.name for saving in savings))
    bars = {(s.baseline.name, conditions.index((s.scene, s.precision))): s for s in savings}
    heights = {bar: 100 * saving.with_network for bar, saving in bars.items()}
    whiskers = {bar: 100 * saving.without_network for bar, saving in bars.items()}
    stopped = [bar for bar, saving in bars.items() if saving.at_least]
    figure = new_figure(max(7.5, 2.0 + 0.95 * len(conditions)), 4.4)
    axes = figure.add_subplot()
    names = [f"{precision.name}\n{_scene_label(scene, scenes)}" for scene, precision in conditions]
    grouped_bars(
        axes, names, baselines, heights, COLOURS, form=".0f", size=8, rotation=0, whiskers=whiskers, stopped=stopped
    )
    axes.axhline(100 * DOCUMENTED_SAVING, color="#2e7d32", linestyle="--", linewidth=1.5, label="documented: 30%")
    axes.set_ylim(min(0.0, *heights.values()), 115)
    style_axes(axes)
    title = "Peak memory saved by switching gradients off, percent of each baseline's (line: without the network)"
    legend(figure, axes, title)
    save(figure, folder, "saving")


def draw_by_frame(runs: Sequence[Run], folder: Path, ceiling_gb: float) -> None:
    """Draw the peak within each frame, a panel per scene and precision, with a cross where a run was stopped."""
    conditions = grouped(runs, lambda run: run.condition)
    scenes, precisions = dict.fromkeys(scene for scene, _ in conditions), dict.fromkeys(one for _, one in conditions)
    figure = new_figure(0.8 + 4.2 * len(precisions), 0.9 + 2.5 * len(scenes))
    grid = figure.subplots(len(scenes), len(precisions), squeeze=False)
    for axes, (scene, precision) in zip(grid.flat, product(scenes, precisions), strict=True):
        here = {run.mode.name: run for run in conditions.get((scene, precision), [])}
        for mode in (mode for mode in COLOURS if mode in here):
            peaks = [peak / MB for peak in here[mode].frame_peak_bytes]
            marker = None if mode in WIDTHS else "."
            axes.plot(peaks, color=COLOURS[mode], linewidth=WIDTHS.get(mode, 2.0), marker=marker, label=mode)
            if here[mode].status == "oom" and peaks:
                label = f"stopped at {ceiling_gb:g} GB"
                axes.plot(len(peaks) - 1, peaks[-1], "x", color="black", markersize=9, label=label)
        axes.set_title(f"{scene}, {precision.name}", loc="left", fontsize=9)
        axes.set_xlim(-0.3, scene.frames - 0.7)
        axes.set_ylim(bottom=0)
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.set_xlabel("frame", fontsize=8)
        style_axes(axes)
    fullest = max(grid.flat, key=lambda axes: len(dict.fromkeys(axes.get_legend_handles_labels()[1])))
    legend(figure, fullest, "Peak memory in tensors within each frame, MB")
    save(figure, folder, "memory_by_frame")


def draw_agreement(agreements: Sequence[Agreement], folder: Path) -> None:
    """Draw the share of pixels that differ from fp32, and J&F if the clip is annotated, by precision."""
    scenes = list(dict.fromkeys(agreement.scene for agreement in agreements))
    precisions = [p.name for p in Precision if any(agreement.precision is p for agreement in agreements)]
    figure = new_figure(3.0 + 2.2 * len(scenes), 3.8)
    panels = figure.subplots(1, 2)
    for axes, figure_of, title in zip(panels, ("differing", "jf"), ("pixels unlike fp32's", "J&F"), strict=True):
        shares = {(a.precision.name, scenes.index(a.scene)): getattr(a, figure_of) for a in agreements}
        heights = {bar: share and 100 * share for bar, share in shares.items()}
        groups = [_scene_label(scene, scenes) for scene in scenes]
        grouped_bars(axes, groups, precisions, heights, PRECISION_COLOURS, form=".3g", size=7, rotation=0)
        if not axes.patches:
            text = "not known: masks of all frames\nor fp32 are missing"
            axes.text(0.5, 0.5, text, ha="center", va="center", transform=axes.transAxes)
        axes.set_title(f"{title}, percent", loc="left", fontsize=10)
        style_axes(axes)
    legend(figure, max(panels, key=lambda axes: len(axes.patches)), "Masks by precision")
    save(figure, folder, "agreement")


def _scene_label(scene: Scene, scenes: Sequence[Scene]) -> str:
    """Return the scene on two lines; the number of frames only if it differs between the scenes."""
    size = "original" if scene.size == -1 else f"{scene.size}p"
    frames = f"\n{scene.frames} fr." if len({other.frames for other in scenes}) > 1 else ""
    return f"{size}\n{scene.objects} obj.{frames}"
