"""The pictures of an ablation: memory, savings, memory by frame, time, agreement."""

from collections.abc import Callable, Sequence
from itertools import product
from pathlib import Path

from ...config import GradMode, Precision
from ..charts import grouped_bars, legend, new_figure, plain, save
from .plan import Scene
from .summary import DOCUMENTED_SAVING, Agreement, Saving, by_place
from .sweep import Run

COLOURS = {
    "set_grad_enabled": "#1f4e79",
    "no_grad": "#4a90c2",
    "inference_mode": "#9cc7e6",
    "enable_grad_detached": "#e8a33d",
    "enable_grad": "#b8433a",
}
# The modes without gradients lie on top of each other: the lower ones are drawn wider.
WIDTHS = {"set_grad_enabled": 7.0, "no_grad": 4.0, "inference_mode": 1.6}
PRECISION_COLOURS = {"fp32": "#3f72af", "tf32": "#6aa84f", "fp16": "#a64d79", "bf16": "#e8a33d"}
MB = 1e6
Value = Callable[[Run], float | None]


def draw_memory(runs: Sequence[Run], folder: Path) -> None:
    """Peak in tensors by mode, a panel per precision."""

    def peak(run: Run) -> float | None:
        return None if run.peak_tensor_bytes is None else run.peak_tensor_bytes / MB

    _by_mode(runs, folder, "memory", "Peak memory in tensors, MB", peak)


def draw_time(runs: Sequence[Run], folder: Path) -> None:
    """Median time per frame by mode, whiskers to the 95th percentile, a panel per precision."""
    title = "Time per frame, ms (bar: p50, whisker: p95)"
    _by_mode(runs, folder, "time", title, lambda run: run.p50_ms, lambda run: run.p95_ms)


def _by_mode(
    runs: Sequence[Run], folder: Path, stem: str, title: str, height: Value, whisker: Value | None = None
) -> None:
    scenes = _once(runs, 0)
    precisions = _once(runs, 1)
    found = {(run.place, run.mode.name): run for run in runs}
    modes = [mode for mode in COLOURS if any(name == mode for _, name in found)]
    figure = new_figure(max(6.0, 1.2 + 1.5 * len(scenes) * len(precisions)), 4.4)
    panels = figure.subplots(1, len(precisions), sharey=True, squeeze=False)[0]
    tops = []
    for axes, precision in zip(panels, precisions, strict=True):
        bars: dict[str, list[float | None]] = {mode: [] for mode in modes}
        tips: dict[str, list[float | None]] = {mode: [] for mode in modes}
        stopped = set()
        for mode, (x, scene) in product(modes, enumerate(scenes)):
            run = found.get(((scene, precision), mode))
            bars[mode].append(height(run) if run else None)
            tips[mode].append(whisker(run) if run and whisker else None)
            if run and run.status == "oom":
                stopped.add((mode, x))
        grouped_bars(axes, [_short(scene, scenes) for scene in scenes], bars, COLOURS, whiskers=tips, stopped=stopped)
        axes.set_title(precision.name, loc="left", fontsize=10)
        plain(axes)
        tops.append(axes.get_ylim()[1])
    panels[0].set_ylim(0, max(tops))
    legend(figure, panels[0], title)
    save(figure, folder, stem)


def draw_savings(savings: Sequence[Saving], folder: Path) -> None:
    """Saving of gradients off against both baselines, with the documented 30% as a line."""
    places = list(dict.fromkeys((saving.scene, saving.precision) for saving in savings))
    scenes = list(dict.fromkeys(scene for scene, _ in places))
    figure = new_figure(max(7.5, 2.0 + 0.95 * len(places)), 4.4)
    axes = figure.add_subplot()
    for saving in savings:
        right = saving.baseline is GradMode.enable_grad
        x = places.index((saving.scene, saving.precision)) + (0.2 if right else -0.2)
        name = saving.baseline.name
        axes.bar(x, 100 * saving.whole, 0.38, color=COLOURS[name], label=f"against {name}", edgecolor="white")
        bare = [100 * saving.working] * 2
        axes.plot([x - 0.19, x + 0.19], bare, "k-", linewidth=1.4, label="without the network's own bytes")
        text = f"{'>' if saving.at_least else ''}{100 * saving.whole:.0f}"
        axes.text(x, 3, text, ha="center", va="bottom", fontsize=8, color="white")
    axes.axhline(100 * DOCUMENTED_SAVING, color="#2e7d32", linestyle="--", linewidth=1.5, label="documented: 30%")
    names = [f"{precision.name}\n{_short(scene, scenes)}" for scene, precision in places]
    axes.set_xticks(range(len(places)), names, fontsize=8)
    axes.set_ylim(min(0.0, *(100 * saving.whole for saving in savings)), 108)
    axes.set_ylabel("percent")
    plain(axes)
    legend(figure, axes, "Peak memory saved by switching gradients off, percent of the baseline's")
    save(figure, folder, "saving")


def draw_by_frame(runs: Sequence[Run], folder: Path, ceiling_gb: float) -> None:
    """Peak within each frame, against its number; a panel per scene and precision; a cross where a run was stopped."""
    scenes, precisions = _once(runs, 0), _once(runs, 1)
    figure = new_figure(0.8 + 4.2 * len(precisions), 0.9 + 2.5 * len(scenes))
    grid = figure.subplots(len(scenes), len(precisions), squeeze=False)
    for (scene, precision), here in by_place(runs).items():
        axes = grid[scenes.index(scene)][precisions.index(precision)]
        for run in sorted(here, key=lambda run: list(COLOURS).index(run.mode.name)):
            mode, peaks = run.mode.name, [peak / MB for peak in run.frame_peak_bytes]
            marker = None if mode in WIDTHS else "."
            axes.plot(peaks, color=COLOURS[mode], linewidth=WIDTHS.get(mode, 2.0), marker=marker, label=mode)
            if run.status == "oom" and peaks:
                label = f"stopped at {ceiling_gb:g} GB"
                axes.plot(len(peaks) - 1, peaks[-1], "x", color="black", markersize=9, label=label)
        axes.set_title(f"{scene}, {precision.name}", loc="left", fontsize=9)
        axes.set_xlim(-0.3, scene.frames - 0.7)
        axes.set_ylim(bottom=0)
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.set_xlabel("frame", fontsize=8)
        plain(axes)
    fullest = max(grid.flat, key=lambda axes: len(dict.fromkeys(axes.get_legend_handles_labels()[1])))
    legend(figure, fullest, "Peak memory in tensors within each frame, MB")
    save(figure, folder, "memory_by_frame")


def draw_agreement(found: Sequence[Agreement], folder: Path) -> None:
    """Share of pixels unlike fp32's, and J&F where the clip is annotated, by precision."""
    scenes = list(dict.fromkeys(agreement.scene for agreement in found))
    precisions = [p.name for p in Precision if any(agreement.precision is p for agreement in found)]
    shares = {(a.scene, a.precision.name): (a.differing, a.jf) for a in found}
    figure = new_figure(3.0 + 2.2 * len(scenes), 3.8)
    panels = figure.subplots(1, 2)
    for number, title in enumerate(("pixels unlike fp32's, percent", "J&F, percent")):
        axes, heights = panels[number], {}
        for precision in precisions:
            values = [shares.get((scene, precision), (None, None))[number] for scene in scenes]
            heights[precision] = [None if value is None else 100 * value for value in values]
        groups = [_short(scene, scenes) for scene in scenes]
        grouped_bars(axes, groups, heights, PRECISION_COLOURS, form=".3g", size=7, rotation=0)
        if not axes.patches:
            text = "not known: masks of all frames\nor fp32 are missing"
            axes.text(0.5, 0.5, text, ha="center", va="center", transform=axes.transAxes)
        axes.set_title(title, loc="left", fontsize=10)
        plain(axes)
    legend(figure, max(panels, key=lambda axes: len(axes.patches)), "Masks by precision")
    save(figure, folder, "agreement")


def _once(runs: Sequence[Run], part: int) -> list:
    """Every scene (part 0) or precision (part 1), in order."""
    return list(dict.fromkeys(run.place[part] for run in runs))


def _short(scene: Scene, scenes: Sequence[Scene]) -> str:
    """The scene on two lines; the number of frames only where it differs."""
    size = "original" if scene.size == -1 else f"{scene.size}p"
    parts = [size, f"{scene.objects} obj."]
    if len({other.frames for other in scenes}) > 1:
        parts.append(f"{scene.frames} fr.")
    return "\n".join(parts)
