"""An ablation as files: results.csv (a row per run), report.md, pictures."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import inf
from pathlib import Path
from typing import Any

from ...config import GradMode
from ..report import megabytes, number, setting_table, table, write_csv, write_page
from .comparisons import Agreement, Saving
from .config import AblateConfig
from .plots import draw_agreement, draw_by_frame, draw_memory, draw_savings, draw_time
from .runs import Run, grouped, merge_repeats, peak_spread


@dataclass(frozen=True)
class Findings:
    """The content of a report. setting: see `report.setting`."""

    config: AblateConfig
    setting: Mapping[str, Any]
    runs: Sequence[Run]
    savings: Sequence[Saving]
    agreements: Sequence[Agreement]

    @cached_property
    def merged(self) -> list[Run]:
        return merge_repeats(self.runs)


def write_report(findings: Findings, folder: Path) -> None:
    """Write the CSV, the pictures, and last the page that shows them. Raises EnvironmentFault."""
    write_csv(folder / "results.csv", [run.csv_row() for run in findings.runs])
    draw_memory(findings.merged, folder)
    draw_by_frame(findings.merged, folder, findings.config.ablate.max_memory_gb)
    draw_time(findings.merged, folder)
    if findings.savings:
        draw_savings(findings.savings, folder)
    if findings.agreements:
        draw_agreement(findings.agreements, folder)
    write_page(folder / "report.md", _page(findings))


def _page(findings: Findings) -> Iterator[str]:
    runs, matrix = findings.merged, findings.config.ablate
    yield "# Gradient modes and precisions, measured"
    yield setting_table(findings.setting)
    yield (
        f"Every combination ran {matrix.repeats} times, each in a fresh process, in interleaved rounds, every other "
        "round in reverse order, after one warm-up process. *Tensors*: the exact sum of all tensor allocations, "
        "network included (CPU: memory events of the profiler, in a separate pass, so that counting does not slow down "
        "the timed one; CUDA: the allocator's). *Resident*: the largest resident size of the process while segmenting, "
        f"libraries included. *Time*: per frame, without decoding and without the first {matrix.warmup_frames} frames."
    )
    spread = 100 * peak_spread(findings.runs)
    yield f"Repeats of one combination differ in their tensor peak by {spread:.3f}% at most."
    yield "## Memory"
    yield "![Peak memory by mode](memory.png)"
    yield _memory_table(runs)
    yield _flatness(runs)
    if findings.savings:
        yield "## What switching gradients off saves"
        yield "![Saving against both baselines](saving.png)"
        yield (
            "`enable_grad` keeps the graph of all frames so far, so the memory it wastes depends on the length of the "
            "clip; `enable_grad_detached` cuts the graph after each frame and shows the cost within one. The documents "
            'say 30%. "Without the network" excludes the weights, which no mode makes smaller.'
        )
        yield savings_table(findings.savings)
    yield "## Memory against the frame number"
    yield f"![Memory by frame](memory_by_frame.png)\n\nA cross marks a run stopped at {matrix.max_memory_gb:g} GB."
    yield "## Time"
    yield "![Time per frame](time.png)"
    yield "Times depend on this machine and its load: compare them within this table only."
    yield _time_table(runs)
    yield "## Masks"
    if findings.agreements:
        yield "![Agreement by precision](agreement.png)"
    yield _same_masks(findings.runs)
    yield _agreement_table(findings.agreements)


def _run_table(runs: Sequence[Run], columns: Mapping[str, Callable[[Run], object]]) -> str:
    """Return a table with a row per run: its scene, precision and mode, then `columns`."""
    head = ("size, objects, frames", "precision", "grad mode", *columns)
    rows = [(run.scene, run.precision.name, run.mode.name, *(cell(run) for cell in columns.values())) for run in runs]
    return table(head, rows)


def _memory_table(runs: Sequence[Run]) -> str:
    columns: dict[str, Callable[[Run], object]] = {
        "result": lambda run: run.status if run.status != "oom" else f"oom in frame {run.frames_done}",
        "tensors MB": lambda run: megabytes(run.peak_tensor_bytes),
        "resident MB": lambda run: megabytes(run.peak_resident_bytes),
    }
    if any(run.cuda_reserved_bytes for run in runs):
        columns["reserved MB"] = lambda run: megabytes(run.cuda_reserved_bytes)
    return _run_table(runs, columns)


def _time_table(runs: Sequence[Run]) -> str:
    by_scene = grouped(runs, lambda run: run.scene)
    fastest = {scene: min(run.p50_ms or inf for run in here) for scene, here in by_scene.items()}
    columns: dict[str, Callable[[Run], object]] = {
        "p50 ms": lambda run: number(run.p50_ms),
        "p95 ms": lambda run: number(run.p95_ms),
        "to the fastest here": lambda run: f"{run.p50_ms / fastest[run.scene]:.2f}" if run.p50_ms else "-",
        "load ms": lambda run: number(run.load_ms),
    }
    return _run_table(runs, columns)


def _flatness(runs: Sequence[Run]) -> str:
    """Describe how the bytes held grow between frame 1 and the last one, by mode, under the first condition."""
    texts = []
    for run in runs:
        if run.condition == runs[0].condition and len(run.held_bytes) > 2:
            first, last = run.held_bytes[1], run.held_bytes[-1]
            growth = (last - first) / (len(run.held_bytes) - 2)
            change = "flat" if last <= first * 1.001 else f"grows by {megabytes(growth)} MB a frame"
            texts.append(f"`{run.mode.name}` {megabytes(first)} -> {megabytes(last)} ({change})")
    where = f"{runs[0].scene}, {runs[0].precision.name}"
    held = f"Bytes in tensors between frames, from frame 1 to the last one reached ({where}), in MB"
    return f"{held}: {'; '.join(texts)}." if texts else ""


def savings_table(savings: Sequence[Saving]) -> str:
    """Return a table of the savings against both baselines, in percent."""
    head = ("size, objects, frames", "precision", "baseline", "baseline MB", "gradients off MB", "saved",
            "without the network")  # fmt: skip
    rows = []
    for s in savings:
        shares = [
            f"{'more than ' if s.at_least else ''}{100 * share:.1f}%" for share in (s.with_network, s.without_network)
        ]
        sizes = megabytes(s.baseline_bytes), megabytes(s.off_bytes)
        rows.append((s.scene, s.precision.name, s.baseline.name, *sizes, *shares))
    return table(head, rows)


def _agreement_table(agreements: Sequence[Agreement]) -> str:
    head = ("size, objects, frames", "precision", "pixels unlike fp32's", "J&F")
    rows = []
    for a in agreements:
        jf = None if a.jf is None else 100 * a.jf
        rows.append((a.scene, a.precision.name, number(a.differing, ".3%"), number(jf, ".2f")))
    return table(head, rows)


def _same_masks(runs: Sequence[Run]) -> str:
    """Say whether all modes gave identical masks under each condition."""
    conditions = grouped((run for run in runs if run.status == "ok" and run.masks_sha256), lambda run: run.condition)
    unlike = [
        f"{scene}, {precision.name}"
        for (scene, precision), here in conditions.items()
        if len({run.masks_sha256 for run in here}) > 1
    ]
    if unlike:
        return f"Grad modes do **not** agree at equal precision: {'; '.join(unlike)}."
    return "At equal precision all grad modes and repeats that finished gave the same masks, to the bit."


def console_summary(findings: Findings) -> list[str]:
    """Return a summary for the terminal: runs out of memory, and savings within a frame."""
    stopped = [run for run in findings.merged if run.status == "oom"]
    lines = [f"{run.combination}: out of memory in frame {run.frames_done} ({run.reason})" for run in stopped]
    within = [s for s in findings.savings if s.baseline is GradMode.enable_grad_detached]
    lines += [
        f"{s.scene}, {s.precision.name}: gradients off save {100 * s.with_network:.1f}% within a frame" for s in within
    ]
    return lines
