"""An ablation as files: results.csv (a row per run), report.md, pictures."""

from collections.abc import Mapping, Sequence
from math import inf
from pathlib import Path
from typing import Any

from ..report import megabytes, number, setting_table, table, write_csv, write_page
from .clip import Clip
from .comparisons import Agreement, Saving, agreements, savings
from .config import WARMUP_FRAMES, MatrixConfig
from .plan import Condition
from .plots import draw_by_frame, draw_savings
from .runs import Run, grouped, merge_repeats


def write_report(
    matrix: MatrixConfig, setting: Mapping[str, Any], runs: Sequence[Run], clip: Clip, folder: Path
) -> None:
    """Write the CSV, the pictures, and last the page that shows them. Raises EnvironmentFault."""
    merged = merge_repeats(runs)
    saved = savings(merged)
    write_csv(folder / "results.csv", [run.csv_row() for run in runs])
    draw_by_frame(merged, folder, matrix.max_memory_gb)
    if saved:
        draw_savings(saved, folder)
    parts = (
        "# Gradient modes and precisions, measured",
        setting_table(setting),
        f"Every combination ran {matrix.repeats} times, each in a fresh process, in interleaved rounds, every other "
        "round in reverse order, after one warm-up process. *Tensors*: the exact sum of all tensor allocations, "
        "network included (CPU: memory events of the profiler, in a separate pass, so that counting does not slow down "
        "the timed one; CUDA: the allocator's). *Resident*: the largest resident size of the process while segmenting, "
        "libraries included; *reserved*: by CUDA's allocator. *p50*, *p95*: time per frame, without decoding and "
        f"without the first {WARMUP_FRAMES} frames.",
        "## Memory and time",
        "Times depend on this machine and its load: compare them within this table only.",
        _runs_table(merged),
        "## What switching gradients off saves",
        "![Saving against both baselines](saving.png)" if saved else "",
        "`enable_grad` keeps the graph of all frames so far, so the memory it wastes depends on the length of the "
        "clip; `enable_grad_detached` cuts the graph after each frame and shows the cost within one. The documents "
        'say 30%. "Without the network" excludes the weights, which no mode makes smaller.',
        savings_table(saved),
        "## Memory against the frame number",
        f"![Memory by frame](memory_by_frame.png)\n\nA cross marks a run stopped at {matrix.max_memory_gb:g} GB.",
        "## Masks",
        _same_masks(runs),
        _agreement_table(agreements(runs, clip)),
    )
    write_page(folder / "report.md", parts)


def _runs_table(runs: Sequence[Run]) -> str:
    fastest = {
        scene: min(run.p50_ms or inf for run in here) for scene, here in grouped(runs, lambda run: run.scene).items()
    }
    head = ("size, objects, frames", "precision", "grad mode", "result", "tensors MB", "resident MB", "reserved MB",
            "p50 ms", "p95 ms", "p50 to the fastest")  # fmt: skip
    rows = [
        (
            run.scene, run.precision.name, run.mode.name,
            run.status if run.status != "oom" else f"oom in frame {run.frames_done}",
            *map(megabytes, (run.peak_tensor_bytes, run.peak_resident_bytes, run.cuda_reserved_bytes)),
            number(run.p50_ms), number(run.p95_ms), number(run.p50_ms and run.p50_ms / fastest[run.scene], ".2f"),
        )
        for run in runs
    ]  # fmt: skip
    return table(head, rows)


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


def _agreement_table(agreements: Mapping[Condition, Agreement]) -> str:
    head = ("size, objects, frames", "precision", "pixels unlike fp32's", "J&F")
    rows = []
    for (scene, precision), (differing, jf) in agreements.items():
        rows.append((scene, precision.name, number(differing, ".3%"), number(jf and 100 * jf, ".2f")))
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
