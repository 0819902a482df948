"""An ablation in files: results.csv, results.json, report.md."""

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ...config import GradMode
from ...io.atomic import write_json, write_whole
from .config import AblateConfig
from .summary import Agreement, Line, Saving, by_place
from .sweep import Row


@dataclass(frozen=True)
class Findings:
    """Everything a report is made of. context: machine, versions, weights, clip."""

    config: AblateConfig
    context: Mapping[str, Any]
    rows: Sequence[Row]
    lines: Sequence[Line]
    savings: Sequence[Saving]
    agreements: Sequence[Agreement]


def write_results(findings: Findings, folder: Path) -> None:
    """results.csv (a row per run) and results.json (all of it, frame by frame)."""
    text = io.StringIO(newline="")
    flat = [row.flat() for row in findings.rows]
    table = csv.DictWriter(text, list(flat[0]) if flat else [], lineterminator="\n")
    table.writeheader()
    table.writerows(flat)
    write_whole(folder / "results.csv", lambda to: to.write_text(text.getvalue(), encoding="utf-8"))
    content = {
        **findings.context,
        "config": asdict(findings.config),
        "runs": [{**row.flat(), **row.series()} for row in findings.rows],
        "savings": [{**asdict(s), "saved": s.whole, "saved_without_network": s.working} for s in findings.savings],
        "precisions": [asdict(agreement) for agreement in findings.agreements],
    }
    write_json(folder / "results.json", content)


def write_report(findings: Findings, folder: Path) -> None:
    """report.md with tables; the pictures lie beside it."""
    ceiling = findings.config.ablate.max_memory_gb
    parts = [
        "# Gradient modes and precisions, measured",
        setting(findings.context),
        *_how(findings),
        "## Memory",
        "![Peak memory by mode](memory.png)",
        _memory_table(findings.lines),
        _flatness(findings.lines),
        "## What switching gradients off saves",
        "![Saving against both baselines](saving.png)",
        "`enable_grad` keeps the graph of all frames so far, so what it wastes depends on the length of the clip; "
        "`enable_grad_detached` cuts the graph after each frame and shows the cost within one. The documents say "
        '30%. "Without the network" leaves out the weights, which no mode makes smaller.',
        savings_table(findings.savings),
        "## Memory against the frame number",
        f"![Memory by frame](memory_by_frame.png)\n\nA cross marks a run stopped at {ceiling:g} GB.",
        "## Time",
        "![Time per frame](time.png)",
        "Times are of this machine under the load it had; compare within this table, not with others.",
        _time_table(findings.lines),
        "## Masks",
        "![Agreement by precision](agreement.png)",
        _same_masks(findings.lines),
        _agreement_table(findings.agreements),
    ]
    text = "\n\n".join(part for part in parts if part) + "\n"
    write_whole(folder / "report.md", lambda to: to.write_text(text, encoding="utf-8"))


def setting(context: Mapping[str, Any]) -> str:
    """Machine, versions, weights and clip, as a table."""
    machine, versions = context["machine"], context["versions"]
    rows = [(key.replace("_", " "), value) for key, value in {**machine, **context["subject"]}.items()]
    rows.append(("versions", ", ".join(f"{name} {version}" for name, version in versions.items())))
    return table_of(("setting", ""), rows)


def _how(findings: Findings) -> Iterable[str]:
    matrix = findings.config.ablate
    yield (
        f"Every combination ran {matrix.repeats} times, each in a fresh process, rounds interleaved and every other "
        "one backwards, after one process for warming up. *Tensors*: the exact sum of all tensor allocations, "
        "network included (CPU: memory events of the profiler, in a pass of its own so that counting slows down no "
        "clock; CUDA: the allocator's). *Resident*: the largest resident size of the process while segmenting, "
        f"libraries included. *Time*: per frame, decoding left out, the first {matrix.warmup_frames} frames left out."
    )
    spread = max((line.peak_spread for line in findings.lines if line.status == "ok"), default=0.0)
    yield f"Repeats of one combination differ in their tensor peak by {100 * spread:.3f}% at most."


def _memory_table(lines: Sequence[Line]) -> str:
    on_gpu = any(line.cuda_reserved_bytes for line in lines)
    head = ["size, objects, frames", "precision", "grad mode", "result", "tensors MB", "resident MB"]
    rows = []
    for line in lines:
        result = line.status if line.status != "oom" else f"oom in frame {line.frames_done}"
        row = [line.cell.scene.words, line.cell.precision.name, line.cell.grad_mode.name, result]
        row += [_mb(line.peak_tensor_bytes), _mb(line.peak_resident_bytes)]
        rows.append([*row, _mb(line.cuda_reserved_bytes)] if on_gpu else row)
    return table_of([*head, "reserved MB"] if on_gpu else head, rows)


def _flatness(lines: Sequence[Line]) -> str:
    """In words: what is held after each frame, at the first and the last one, by mode."""
    said = []
    for line in lines:
        first_place = (line.cell.scene, line.cell.precision) == (lines[0].cell.scene, lines[0].cell.precision)
        if first_place and len(line.held_bytes) > 2:
            first, last = line.held_bytes[1], line.held_bytes[-1]
            growth = (last - first) / (len(line.held_bytes) - 2)
            change = "flat" if last <= first * 1.001 else f"grows by {_mb(growth)} MB a frame"
            said.append(f"`{line.cell.grad_mode.name}` {_mb(first)} -> {_mb(last)} ({change})")
    if not said:
        return ""
    return f"Held in tensors between frames, from frame 1 to the last one reached ({lines[0].cell.scene.words}, " + (
        f"{lines[0].cell.precision.name}), MB: " + "; ".join(said) + "."
    )


def savings_table(savings: Sequence[Saving]) -> str:
    """Savings against both baselines, in percent."""
    rows = []
    for s in savings:
        more = "more than " if s.at_least else ""
        rows.append(
            (s.scene.words, s.precision.name, s.baseline.name, _mb(s.baseline_bytes), _mb(s.off_bytes),
             f"{more}{100 * s.whole:.1f}%", f"{more}{100 * s.working:.1f}%")
        )  # fmt: skip
    head = (
        "size, objects, frames",
        "precision",
        "baseline",
        "baseline MB",
        "gradients off MB",
        "saved",
        "without the network",
    )
    return table_of(head, rows)


def _time_table(lines: Sequence[Line]) -> str:
    rows = []
    for line in lines:
        fastest = [x.p50_ms for x in lines if x.cell.scene == line.cell.scene and x.p50_ms]
        ratio = f"{line.p50_ms / min(fastest):.2f}" if line.p50_ms else "-"
        rows.append(
            (line.cell.scene.words, line.cell.precision.name, line.cell.grad_mode.name,
             _number(line.p50_ms), _number(line.p95_ms), ratio, _number(line.load_ms))
        )  # fmt: skip
    head = ("size, objects, frames", "precision", "grad mode", "p50 ms", "p95 ms", "to the fastest here", "load ms")
    return table_of(head, rows)


def _same_masks(lines: Sequence[Line]) -> str:
    """Whether all modes gave the same masks to the bit, by place."""
    places = by_place([line for line in lines if line.hashes])
    unlike = [
        f"{scene.words}, {precision.name}"
        for (scene, precision), here in places.items()
        if len(frozenset().union(*(line.hashes for line in here))) > 1
    ]
    if unlike:
        return f"Grad modes do **not** agree at equal precision: {'; '.join(unlike)}."
    return "At equal precision all grad modes and repeats that finished gave the same masks, to the bit."


def _agreement_table(agreements: Sequence[Agreement]) -> str:
    rows = [
        (a.scene.words, a.precision.name,
         "-" if a.differing is None else f"{100 * a.differing:.3f}%", "-" if a.jf is None else f"{100 * a.jf:.2f}")
        for a in agreements
    ]  # fmt: skip
    return table_of(("size, objects, frames", "precision", "pixels unlike fp32's", "J&F"), rows)


def table_of(head: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """A Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(str(cell) for cell in line) + " |" for line in lines)


def console_summary(lines: Sequence[Line], savings: Sequence[Saving]) -> list[str]:
    """The gist, for the terminal."""
    stopped = [line for line in lines if line.status == "oom"]
    said = [f"{line.cell.words}: out of memory in frame {line.frames_done} ({line.reason})" for line in stopped]
    for s in savings:
        if s.baseline is GradMode.enable_grad_detached:
            said.append(f"{s.scene.words}, {s.precision.name}: gradients off save {100 * s.whole:.1f}% within a frame")
    return said


def _mb(value: float | None) -> str:
    return "-" if value is None else f"{value / 1e6:,.1f}"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:,.1f}"
