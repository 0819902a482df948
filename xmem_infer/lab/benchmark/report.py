"""The benchmark in files: results.csv, results.json, report.md."""

import csv
import io
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np

from ...io.atomic import write_json, write_whole
from ..report import setting, table
from .config import BASELINES
from .curves import axes_of, points
from .end_to_end import MASKS, PIPELINE_STAGES, WAYS
from .findings import Findings
from .stages import FRAME_STAGES
from .stand import MEMORY_EVERY
from .workloads import Workload

Table = tuple[Sequence[str], Sequence[Sequence[str]]]  # head and rows

HOW = (
    f"Times are milliseconds per frame with memory as the workload says: the mean over {MEMORY_EVERY} frames, four "
    "ordinary ones and a memory frame, plus a 25th of what a consolidation adds to a memory write; p50 and p95 are of "
    "these means, over rounds. Each round runs every variant once on the same two frames and the same state, every "
    "other round backwards; before them it warms up on these frames, while operations are counted. *Rest* is what the "
    "engine does between stages. *Yardstick*: the fastest of a few 3x3 convolutions and matrix products in that "
    "precision, run between the rounds; the share is the arithmetic of a variant (convolutions and products, its own "
    "count) over what the yardstick would do in the same time. Compare within this run only."
)


def write_results(findings: Findings, folder: Path) -> None:
    """results.csv (a row per workload and variant) and results.json (all of it, round by round)."""
    text = io.StringIO(newline="")
    flat = findings.flat()
    table = csv.DictWriter(text, list(flat[0]), lineterminator="\n")
    table.writeheader()
    table.writerows(flat)
    write_whole(folder / "results.csv", lambda to: to.write_text(text.getvalue(), encoding="utf-8"))
    rows = [
        {**row, "flops": line.flops, "rounds": [asdict(times) for times in line.rounds]}
        for row, line in zip(flat, findings.lines, strict=True)
    ]
    content = {
        **findings.context,
        "config": {key: value for key, value in asdict(findings.config).items() if key != "output_dir"},
        "missing": list(findings.missing),
        "active": findings.active,
        "rows": rows,
        "peak_memory": [{**peak.flat(), "sizes": peak.sizes and asdict(peak.sizes)} for peak in findings.peaks],
        "end_to_end": [
            {**whole.flat(), "rounds": dict(whole.ms_per_frame), "stage_ms": dict(whole.stage_ms)}
            for whole in findings.end_to_end
        ],
    }
    write_json(folder / "results.json", content)


def write_report(findings: Findings, folder: Path) -> None:
    """report.md with tables; the pictures lie beside it."""
    write_whole(folder / "report.md", lambda to: to.write_text("\n\n".join(_parts(findings)) + "\n", encoding="utf-8"))


def _parts(findings: Findings) -> Iterator[str]:
    yield "# Speed against the published formulation"
    if findings.missing:
        yield f"**Not finished.** Still to be measured: {', '.join(findings.missing)}."
    yield setting(findings.context)
    yield HOW
    yield table(("variant", "what is active"), [(name, "; ".join(words)) for name, words in findings.active.items()])
    yield "## Time per frame"
    yield "![Time per frame and ratio to the published formulation](times.png)"
    for workload in findings.asked_for():
        yield f"### {workload.name}: {workload.words}"
        yield table(*times_table(findings, workload))
        yield table(*_stage_table(findings, workload))
    if findings.peaks:
        yield "## Peak memory"
        yield (
            "Largest resident size of a fresh process during an ordinary and a consolidating memory frame with memory "
            "filled, above its size with libraries imported (network, memory, activations), and above its size before "
            "the first frame. What the allocator holds without using it is given back before."
        )
        yield _peak_table(findings)
    if findings.end_to_end:
        yield "## From video file to masks on disk"
        yield _end_to_end_text(findings)
        yield table(*end_to_end_table(findings))
        yield table(*_pipeline_table(findings))
    if findings.has_curves():
        yield "## Curves"
        yield "![Time against objects, resolution and memory](curves.png)"
        yield _curve_table(findings)


def times_table(findings: Findings, workload: Workload) -> Table:
    """Head and rows: times, ratios and share of the yardstick of every variant."""
    head = ("variant", "p50 ms", "p95 ms", "fps", *(f"x {name}" for name in BASELINES), "GFLOP", "share of yardstick")
    rows = []
    for line in findings.of(workload):
        ratios = (_number(findings.ratio(line, baseline), 2) for baseline in BASELINES)
        gflop = None if line.total_flops is None else line.total_flops / 1e9
        rows.append(
            (line.variant, _number(line.frame_ms), _number(line.percentile_ms(95)), f"{1000 / line.frame_ms:.3g}",
             *ratios, "-" if gflop is None else f"{gflop:.3g}", _percent(line.share))
        )  # fmt: skip
    return head, rows


def end_to_end_table(findings: Findings) -> Table:
    """Head and rows: milliseconds per frame each way, and ratios to the engine alone."""
    head = ("workload", "variant", "frames", *(f"{way}, ms" for way in WAYS), *(f"{way}, ratio" for way in WAYS[1:]))
    rows = []
    for whole in findings.end_to_end:
        times = (_number(float(np.median(whole.ms_per_frame[way]))) for way in WAYS)
        ratios = (_number(whole.ratio(way), 3) for way in WAYS[1:])
        rows.append((whole.workload.name, whole.variant, str(whole.frames), *times, *ratios))
    return head, rows


def _stage_table(findings: Findings, workload: Workload) -> Table:
    head = ("variant", *(f"{stage}: p50 / p95 ms (share)" for stage in FRAME_STAGES))
    rows = []
    for line in findings.of(workload):
        cells = [line.variant]
        for stage in FRAME_STAGES:
            share = line.stage_share(stage)
            times = f"{_number(line.percentile_ms(50, stage))} / {_number(line.percentile_ms(95, stage))}"
            cells.append(times if share is None else f"{times} ({_percent(share)})")
        rows.append(cells)
    return head, rows


def _peak_table(findings: Findings) -> str:
    rows = [
        (peak.workload, peak.variant, peak.status if peak.status == "ok" else f"{peak.status}: {peak.reason}",
         _megabytes(peak.total_bytes), _megabytes(peak.video_bytes))
        for peak in findings.peaks
    ]  # fmt: skip
    return table(("workload", "variant", "result", "peak MB", "above the first frame MB"), rows)


def _end_to_end_text(findings: Findings) -> str:
    return (
        "The whole of a clip, first frame included: *engine alone* has its frames decoded and normalised before; "
        f"*{MASKS}* opens an H.264 file, decodes it, and writes palette PNGs and the confidence table, as "
        "`scripts/eval.py` does, until everything has its final name."
    )


def _pipeline_table(findings: Findings) -> Table:
    head = ("workload", *(f"{stage}: p50 / p95 ms" for stage in PIPELINE_STAGES), "finish ms, per clip")
    rows = []
    for whole in findings.end_to_end:
        cells = [whole.workload.name]
        for stage in PIPELINE_STAGES:
            p50, p95 = np.percentile(whole.stage_ms[stage], (50, 95))
            cells.append(f"{_number(float(p50))} / {_number(float(p95))}")
        rows.append([*cells, _number(float(np.median(whole.stage_ms["finish"])))])
    return head, rows


def _curve_table(findings: Findings) -> str:
    rows = []
    for axis in axes_of(findings.config.curve):
        for variant in findings.config.curve.variants:
            found = points(axis, variant, findings.lines)
            rows.append((axis.title, variant, ", ".join(f"{place:g}: {_number(spent)}" for place, spent in found)))
    return table(("against", "variant", "ms per frame"), rows)


def _number(value: float | None, digits: int = 1) -> str:
    return "-" if value is None else f"{value:,.{digits}f}"


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.0f}%"


def _megabytes(value: int | None) -> str:
    return "-" if value is None else f"{value / 1e6:,.0f}"
