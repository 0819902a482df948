"""An ablation in files: results.csv (a row per run), report.md, pictures."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...config import GradMode
from ..report import megabytes, number, setting, table, write_csv, write_page
from .config import AblateConfig
from .plots import draw_agreement, draw_by_frame, draw_memory, draw_savings, draw_time
from .summary import Agreement, Saving, by_place, joined, peak_spread
from .sweep import Run


@dataclass(frozen=True)
class Findings:
    """Everything a report is made of. context: machine, versions, weights, clip."""

    config: AblateConfig
    context: Mapping[str, Any]
    runs: Sequence[Run]
    savings: Sequence[Saving]
    agreements: Sequence[Agreement]


def write_report(findings: Findings, folder: Path) -> None:
    """The CSV, the pictures, and last the page that shows them. Raises EnvironmentFault."""
    write_csv(folder / "results.csv", [run.csv_row() for run in findings.runs])
    runs = joined(findings.runs)
    draw_memory(runs, folder)
    draw_by_frame(runs, folder, findings.config.ablate.max_memory_gb)
    draw_time(runs, folder)
    if findings.savings:
        draw_savings(findings.savings, folder)
    if findings.agreements:
        draw_agreement(findings.agreements, folder)
    write_page(folder / "report.md", _page(findings))


def _page(findings: Findings) -> Iterator[str]:
    runs, matrix = joined(findings.runs), findings.config.ablate
    yield "# Gradient modes and precisions, measured"
    yield setting(findings.context)
    yield (
        f"Every combination ran {matrix.repeats} times, each in a fresh process, rounds interleaved and every other "
        "one backwards, after one process for warming up. *Tensors*: the exact sum of all tensor allocations, "
        "network included (CPU: memory events of the profiler, in a pass of its own so that counting slows down no "
        "clock; CUDA: the allocator's). *Resident*: the largest resident size of the process while segmenting, "
        f"libraries included. *Time*: per frame, decoding left out, the first {matrix.warmup_frames} frames left out."
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
            "`enable_grad` keeps the graph of all frames so far, so what it wastes depends on the length of the clip; "
            "`enable_grad_detached` cuts the graph after each frame and shows the cost within one. The documents say "
            '30%. "Without the network" leaves out the weights, which no mode makes smaller.'
        )
        yield savings_table(findings.savings)
    yield "## Memory against the frame number"
    yield f"![Memory by frame](memory_by_frame.png)\n\nA cross marks a run stopped at {matrix.max_memory_gb:g} GB."
    yield "## Time"
    yield "![Time per frame](time.png)"
    yield "Times are of this machine under the load it had; compare within this table, not with others."
    yield _time_table(runs)
    yield "## Masks"
    if findings.agreements:
        yield "![Agreement by precision](agreement.png)"
    yield _same_masks(findings.runs)
    yield table(
        ("size, objects, frames", "precision", "pixels unlike fp32's", "J&F"),
        [
            (a.scene, a.precision.name, "-" if a.differing is None else f"{100 * a.differing:.3f}%",
             "-" if a.jf is None else f"{100 * a.jf:.2f}")
            for a in findings.agreements
        ],
    )  # fmt: skip


def _memory_table(runs: Sequence[Run]) -> str:
    on_gpu = any(run.cuda_reserved_bytes for run in runs)
    head = ["size, objects, frames", "precision", "grad mode", "result", "tensors MB", "resident MB"]
    rows = []
    for run in runs:
        scene, precision = run.place
        result = run.status if run.status != "oom" else f"oom in frame {run.frames_done}"
        row = [scene, precision.name, run.mode.name, result]
        row += [megabytes(run.peak_tensor_bytes), megabytes(run.peak_resident_bytes)]
        rows.append([*row, megabytes(run.cuda_reserved_bytes)] if on_gpu else row)
    return table([*head, "reserved MB"] if on_gpu else head, rows)


def _flatness(runs: Sequence[Run]) -> str:
    """In words: what is held after each frame, at frame 1 and the last run, by mode, at the first place."""
    said = []
    for run in runs:
        if run.place == runs[0].place and len(run.held_bytes) > 2:
            first, last = run.held_bytes[1], run.held_bytes[-1]
            growth = (last - first) / (len(run.held_bytes) - 2)
            change = "flat" if last <= first * 1.001 else f"grows by {megabytes(growth)} MB a frame"
            said.append(f"`{run.mode.name}` {megabytes(first)} -> {megabytes(last)} ({change})")
    if not said:
        return ""
    scene, precision = runs[0].place
    return (
        f"Held in tensors between frames, from frame 1 to the last one reached ({scene}, {precision.name}), MB: "
        f"{'; '.join(said)}."
    )


def _load_ms(run: Run) -> float | None:
    return 1000 * (run.read_seconds + run.build_seconds) if run.read_seconds and run.build_seconds else None


def savings_table(savings: Sequence[Saving]) -> str:
    """Savings against both baselines, in percent."""
    head = ("size, objects, frames", "precision", "baseline", "baseline MB", "gradients off MB", "saved",
            "without the network")  # fmt: skip
    rows = []
    for s in savings:
        more = "more than " if s.at_least else ""
        rows.append(
            (s.scene, s.precision.name, s.baseline.name, megabytes(s.baseline_bytes), megabytes(s.off_bytes),
             f"{more}{100 * s.whole:.1f}%", f"{more}{100 * s.working:.1f}%")
        )  # fmt: skip
    return table(head, rows)


def _time_table(runs: Sequence[Run]) -> str:
    head = ("size, objects, frames", "precision", "grad mode", "p50 ms", "p95 ms", "to the fastest here", "load ms")
    rows = []
    for run in runs:
        scene, precision = run.place
        fastest = [other.p50_ms for other in runs if other.place[0] == scene and other.p50_ms]
        ratio = f"{run.p50_ms / min(fastest):.2f}" if run.p50_ms else "-"
        times = number(run.p50_ms), number(run.p95_ms), ratio, number(_load_ms(run))
        rows.append((scene, precision.name, run.mode.name, *times))
    return table(head, rows)


def _same_masks(runs: Sequence[Run]) -> str:
    """Whether all modes gave the same masks to the bit, by place."""
    places = by_place([run for run in runs if run.status == "ok" and run.masks_sha256])
    unlike = [
        f"{scene}, {precision.name}"
        for (scene, precision), here in places.items()
        if len({run.masks_sha256 for run in here}) > 1
    ]
    if unlike:
        return f"Grad modes do **not** agree at equal precision: {'; '.join(unlike)}."
    return "At equal precision all grad modes and repeats that finished gave the same masks, to the bit."


def console_summary(findings: Findings) -> list[str]:
    """The gist, for the terminal."""
    stopped = [run for run in joined(findings.runs) if run.status == "oom"]
    said = [f"{run.combination}: out of memory in frame {run.frames_done} ({run.reason})" for run in stopped]
    within = [s for s in findings.savings if s.baseline is GradMode.enable_grad_detached]
    said += [f"{s.scene}, {s.precision.name}: gradients off save {100 * s.whole:.1f}% within a frame" for s in within]
    return said
