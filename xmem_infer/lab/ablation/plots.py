"""The pictures of an ablation: memory, savings, memory by frame, time, agreement. Each as PNG and SVG."""

from collections.abc import Callable, Sequence
from pathlib import Path

from ...config import GradMode, Precision
from ..charts import legend, new_figure, plain, save
from .plan import Scene
from .summary import DOCUMENTED_SAVING, Agreement, Line, Saving, by_place

COLOURS = {
    GradMode.set_grad_enabled: "#1f4e79",
    GradMode.no_grad: "#4a90c2",
    GradMode.inference_mode: "#9cc7e6",
    GradMode.enable_grad_detached: "#e8a33d",
    GradMode.enable_grad: "#b8433a",
}
# The modes without gradients lie on top of each other: the lower ones are drawn wider.
WIDTHS = {GradMode.set_grad_enabled: 7.0, GradMode.no_grad: 4.0, GradMode.inference_mode: 1.6}
PRECISION_COLOURS = {
    Precision.fp32: "#3f72af",
    Precision.tf32: "#6aa84f",
    Precision.fp16: "#a64d79",
    Precision.bf16: "#e8a33d",
}
MB = 1e6


def draw_memory(lines: Sequence[Line], folder: Path, stem: str = "memory") -> None:
    """Peak in tensors by mode, a panel per precision."""
    _by_mode(lines, folder, stem, "Peak memory in tensors, MB", lambda line: (line.peak_tensor_bytes or 0) / MB)


def draw_time(lines: Sequence[Line], folder: Path) -> None:
    """Median time per frame by mode, whiskers to the 95th percentile, a panel per precision."""
    _by_mode(
        lines, folder, "time", "Time per frame, ms (bar: p50, whisker: p95)",
        lambda line: line.p50_ms or 0.0, lambda line: line.p95_ms or 0.0,
    )  # fmt: skip


def _by_mode(
    lines: Sequence[Line], folder: Path, stem: str, title: str,
    height: Callable[[Line], float], whisker: Callable[[Line], float] | None = None,
) -> None:  # fmt: skip
    scenes, precisions = _scenes(lines), _precisions(lines)
    modes = [mode for mode in COLOURS if any(line.cell.grad_mode is mode for line in lines)]
    figure = new_figure(max(6.0, 1.2 + 1.5 * len(scenes) * len(precisions)), 4.4)
    panels = figure.subplots(1, len(precisions), sharey=True, squeeze=False)[0]
    tallest = max((max(height(line), 0.0 if whisker is None else whisker(line)) for line in lines), default=1.0)
    top = tallest or 1.0
    for axes, precision in zip(panels, precisions, strict=True):
        for offset, mode in enumerate(modes):
            for x, scene in enumerate(scenes):
                line = _find(lines, scene, precision, mode)
                if line is None:
                    continue
                at = x + (offset - (len(modes) - 1) / 2) * 0.8 / len(modes)
                label = mode.name if x == 0 else None
                hatch = "//" if line.status == "oom" else None
                axes.bar(
                    at,
                    height(line),
                    0.76 / len(modes),
                    color=COLOURS[mode],
                    label=label,
                    hatch=hatch,
                    edgecolor="white",
                )
                if whisker is not None and whisker(line):
                    axes.plot([at, at], [height(line), whisker(line)], color="#555555", linewidth=1)
                text = ("oom " if line.status == "oom" else "") + f"{height(line):,.0f}"
                foot = max(height(line), 0.0 if whisker is None else whisker(line)) + 0.015 * top
                axes.text(at, foot, text, ha="center", va="bottom", fontsize=6.5, rotation=90)
        axes.set_xticks(range(len(scenes)), [_short(scene, scenes) for scene in scenes], fontsize=8)
        axes.set_title(precision.name, loc="left", fontsize=10)
        axes.set_ylim(0, 1.15 * top)
        plain(axes)
    legend(figure, panels[0], title)
    save(figure, folder, stem)


def draw_savings(savings: Sequence[Saving], folder: Path, stem: str = "saving") -> None:
    """Saving of gradients off against both baselines, with the documented 30% as a line."""
    places = list(dict.fromkeys((saving.scene, saving.precision) for saving in savings))
    scenes = list(dict.fromkeys(scene for scene, _ in places))
    figure = new_figure(max(7.5, 2.0 + 0.95 * len(places)), 4.4)
    axes = figure.add_subplot()
    for offset, baseline in ((-0.2, GradMode.enable_grad_detached), (0.2, GradMode.enable_grad)):
        named = False
        for saving in savings:
            if saving.baseline is not baseline:
                continue
            x = places.index((saving.scene, saving.precision)) + offset
            label = None if named else f"against {baseline.name}"
            axes.bar(x, 100 * saving.whole, 0.38, color=COLOURS[baseline], label=label, edgecolor="white")
            axes.plot(
                [x - 0.19, x + 0.19], [100 * saving.working] * 2, color="black", linewidth=1.4,
                label=None if named or offset > 0 else "without the network's own bytes",
            )  # fmt: skip
            text = f"{'>' if saving.at_least else ''}{100 * saving.whole:.0f}"
            axes.text(x, 3, text, ha="center", va="bottom", fontsize=8, color="white")
            named = True
    axes.axhline(100 * DOCUMENTED_SAVING, color="#2e7d32", linestyle="--", linewidth=1.5, label="documented: 30%")
    axes.set_xticks(
        range(len(places)), [f"{precision.name}\n{_short(scene, scenes)}" for scene, precision in places], fontsize=8
    )
    axes.set_ylim(min(0.0, *(100 * saving.whole for saving in savings)), 108)
    axes.set_ylabel("percent")
    plain(axes)
    legend(figure, axes, "Peak memory saved by switching gradients off, percent of the baseline's")
    save(figure, folder, stem)


def draw_by_frame(lines: Sequence[Line], folder: Path, ceiling_gb: float, stem: str = "memory_by_frame") -> None:
    """Peak within each frame, against its number; a panel per scene and precision; a cross where a run was stopped."""
    scenes, precisions = _scenes(lines), _precisions(lines)
    figure = new_figure(0.8 + 4.2 * len(precisions), 0.9 + 2.5 * len(scenes))
    grid = figure.subplots(len(scenes), len(precisions), squeeze=False)
    for (scene, precision), here in by_place(lines).items():
        axes = grid[scenes.index(scene)][precisions.index(precision)]
        for mode in COLOURS:
            line = _find(here, scene, precision, mode)
            if line is None or not line.frame_peak_bytes:
                continue
            peaks = [peak / MB for peak in line.frame_peak_bytes]
            axes.plot(
                peaks, color=COLOURS[mode], linewidth=WIDTHS.get(mode, 2.0), marker="." if mode not in WIDTHS else None,
                label=mode.name, solid_capstyle="round",
            )  # fmt: skip
            if line.status == "oom":
                axes.plot(
                    len(peaks) - 1, peaks[-1], "x", color="black", markersize=9, label=f"stopped at {ceiling_gb:g} GB"
                )
        axes.set_title(f"{scene.words}, {precision.name}", loc="left", fontsize=9)
        axes.set_xlim(-0.3, scene.frames - 0.7)
        axes.set_ylim(bottom=0)
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.set_xlabel("frame", fontsize=8)
        plain(axes)
    fullest = max(grid.flat, key=lambda axes: len(dict.fromkeys(axes.get_legend_handles_labels()[1])))
    legend(figure, fullest, "Peak memory in tensors within each frame, MB")
    save(figure, folder, stem)


def draw_agreement(found: Sequence[Agreement], folder: Path) -> None:
    """Share of pixels unlike fp32's, and J&F where the clip is annotated, by precision."""
    scenes = list(dict.fromkeys(agreement.scene for agreement in found))
    precisions = [p for p in Precision if any(agreement.precision is p for agreement in found)]
    figure = new_figure(3.0 + 2.2 * len(scenes), 3.8)
    panels = figure.subplots(1, 2)
    for axes, title, value in (
        (panels[0], "pixels unlike fp32's, percent", lambda agreement: agreement.differing),
        (panels[1], "J&F, percent", lambda agreement: agreement.jf),
    ):
        for offset, precision in enumerate(precisions):
            for x, scene in enumerate(scenes):
                here = [a for a in found if a.scene == scene and a.precision is precision]
                if not here or value(here[0]) is None:
                    continue
                at = x + (offset - (len(precisions) - 1) / 2) * 0.8 / len(precisions)
                share = 100 * value(here[0])
                label = precision.name if x == 0 else None
                axes.bar(at, share, 0.76 / len(precisions), color=PRECISION_COLOURS[precision], label=label)
                axes.text(at, share, f"{share:.3g}", ha="center", va="bottom", fontsize=7)
        if not axes.patches:
            axes.text(0.5, 0.5, "not known: masks of all frames\nor fp32 are missing", ha="center", va="center")
        axes.set_xticks(range(len(scenes)), [_short(scene, scenes) for scene in scenes], fontsize=8)
        axes.set_title(title, loc="left", fontsize=10)
        axes.margins(y=0.15)
        plain(axes)
    legend(figure, max(panels, key=lambda axes: len(axes.patches)), "Masks by precision")
    save(figure, folder, "agreement")


def _scenes(lines: Sequence[Line]) -> list[Scene]:
    return list(dict.fromkeys(line.cell.scene for line in lines))


def _precisions(lines: Sequence[Line]) -> list[Precision]:
    return list(dict.fromkeys(line.cell.precision for line in lines))


def _find(lines: Sequence[Line], scene: Scene, precision: Precision, mode: GradMode) -> Line | None:
    wanted = (scene, precision, mode)
    return next((l for l in lines if (l.cell.scene, l.cell.precision, l.cell.grad_mode) == wanted), None)  # noqa: E741


def _short(scene: Scene, scenes: Sequence[Scene]) -> str:
    """The scene on two lines; the number of frames only where it differs."""
    size = "original" if scene.size == -1 else f"{scene.size}p"
    parts = [size, f"{scene.objects} obj."]
    if len({other.frames for other in scenes}) > 1:
        parts.append(f"{scene.frames} fr.")
    return "\n".join(parts)
