"""The benchmark as files: results.csv, report.md, times.png, curves.png."""

import csv
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ...errors import UsageError
from ..report import megabytes, number, setting_table, table, write_csv, write_page
from .config import BenchmarkConfig, CurvesConfig
from .end_to_end import MASKS, PIPELINE_STAGES, PIPELINES, EndToEnd
from .interleaved import Row, column_prefix
from .peak_memory import PEAK_COLUMNS
from .plots import draw_curves, draw_times, points
from .stages import FRAME_STAGES
from .variants import BASELINES
from .workload_runner import MEMORY_EVERY
from .workloads import parse_workload

HOW = (
    f"Times are milliseconds per frame with memory filled as the workload says: the mean over {MEMORY_EVERY} frames "
    "(four ordinary ones and a memory frame) plus 1/25 of the extra time of a memory write that consolidates. p50 and "
    "p95 are percentiles of these means over the rounds. Each round runs every variant once on the same two frames "
    "from the same state, every other round in reverse order; before the first round, each variant is warmed up on "
    "these frames while its operations are counted. *Rest* is the time of the engine between the stages. *Yardstick*: "
    "the fastest of a few 3x3 convolutions and matrix products in that precision, measured between the rounds; the "
    "share is the number of operations of a variant (convolutions and products, by its own count) divided by the "
    "number that the yardstick would do in the same time. Compare times within this run only."
)
PEAK = (
    "Largest resident size of a fresh process during an ordinary and a consolidating memory frame with memory filled: "
    "above its size after importing the libraries (network, memory, activations), and above its size before the first "
    "frame. Memory that the allocator holds but does not use is returned to the system before."
)
END_TO_END = (
    "Time of the whole clip, including the first frame. *engine alone*: frames are decoded and normalised in advance. "
    f"*{MASKS}*: opens an H.264 file, decodes it, and writes palette PNGs and the confidence table, as "
    "`scripts/eval.py` does, until all files have their final names."
)


@dataclass
class Results:
    """Settings and results of a benchmark so far.

    Attributes:
        config: The settings.
        setting: Machine and subject of the measurement, see `report.setting`.
        active: By variant, descriptions of the optimisations in use.
        rows: Times, on the workloads and on the points of the curves.
        missing: Names of the parts that have not been measured yet.
    """

    config: BenchmarkConfig
    setting: Mapping[str, Any]
    active: dict[str, Sequence[str]] = field(default_factory=dict)
    rows: list[Row] = field(default_factory=list)
    peaks: list[Row] = field(default_factory=list)
    end_to_end: list[EndToEnd] = field(default_factory=list)
    missing: Sequence[str] = ()


def write_report(results: Results, folder: Path) -> None:
    """Write report.md, results.csv and the pictures. Raises EnvironmentFault."""
    peaks = {(peak["workload"], peak["variant"]): peak for peak in results.peaks}
    rows = []
    for row in results.rows:
        peak = peaks.get((row["workload"], row["variant"]), {})
        rows.append({**row, **{name: peak.get(name) for name in PEAK_COLUMNS}})
    write_csv(folder / "results.csv", rows)
    _draw(rows, results.config, folder)
    write_page(folder / "report.md", _parts(results))


def redraw(config: BenchmarkConfig, folder: Path) -> None:
    """Draw the pictures of a report again from its results.csv. Raises UsageError if that file is missing."""
    if not (folder / "results.csv").is_file():
        raise UsageError(f"redraw={folder} has no results.csv: give the folder of a report of this script")
    with (folder / "results.csv").open(newline="", encoding="utf-8") as file:
        _draw(list(csv.DictReader(file)), config, folder)


def _draw(rows: Sequence[Row], config: BenchmarkConfig, folder: Path) -> None:
    draw_times(rows, config.workloads, folder)
    if config.curves and are_measured(config.curve, rows):
        draw_curves(rows, config.curve, folder)
    else:
        (folder / "curves.png").unlink(missing_ok=True)  # left by an earlier run


def are_measured(curves: CurvesConfig, rows: Sequence[Row]) -> bool:
    """Check that the rows contain every point of every curve."""
    measured = {(row["workload"], row["variant"]) for row in rows}
    return all((w.name, variant) in measured for w in curves.workloads() for variant in curves.variants)


def _parts(results: Results) -> Iterator[str]:
    yield "# Speed against the published formulation"
    if results.missing:
        yield f"**Not finished.** Still to be measured: {', '.join(results.missing)}."
    yield setting_table(results.setting)
    yield HOW
    yield table(("variant", "what is active"), [(name, "; ".join(active)) for name, active in results.active.items()])
    yield "## Time per frame"
    yield "![Speed against the published formulation](times.png)"
    for title, rows in _by_workload(results).items():
        yield f"### {title}"
        yield _times_table(rows)
        yield _stage_table(rows)
    if results.peaks:
        yield "## Peak memory"
        yield PEAK
        yield _peak_table(results)
    if results.end_to_end:
        yield "## From video file to masks on disk"
        yield END_TO_END
        yield _end_to_end_table(results)
        yield _pipeline_table(results)
    if results.config.curves and are_measured(results.config.curve, results.rows):
        yield "## Curves"
        yield "![Time against objects, resolution and memory](curves.png)"
        yield _curve_table(results)


def console_summary(results: Results) -> Iterator[str]:
    """Return the settings and the tables of times, for the terminal."""
    yield from (f"{name}: {value}" for name, value in results.setting.items())
    for name, active in results.active.items():
        yield f"{name}: {'; '.join(active)}"
    for title, rows in _by_workload(results).items():
        yield f"\n{title}\n{_times_table(rows)}"
    if results.end_to_end:
        yield f"\n{_end_to_end_table(results)}"


def _by_workload(results: Results) -> dict[str, list[Row]]:
    """Return the rows of the requested workloads by title; all other rows belong to curves only."""
    titled = {}
    for name in results.config.workloads:
        if rows := [row for row in results.rows if row["workload"] == name]:
            titled[f"{name}: {parse_workload(name).description}"] = rows
    return titled


def _times_table(rows: Sequence[Row]) -> str:
    head = ("variant", "p50 ms", "p95 ms", "fps", *(f"x {name}" for name in BASELINES), "GFLOP", "share of yardstick")
    cells = [
        (row["variant"], number(row["p50_ms"]), number(row["p95_ms"]), f"{1000 / row['p50_ms']:.3g}",
         *(number(row[f"times_{name}"], ".2f") for name in BASELINES), number(row["gflop"], ".3g"),
         number(row["share_of_yardstick"], ".0%"))
        for row in rows
    ]  # fmt: skip
    return table(head, cells)


def _stage_table(rows: Sequence[Row]) -> str:
    def cell(row: Row, prefix: str) -> str:
        share = row[f"{prefix}share_of_yardstick"]
        times = f"{number(row[f'{prefix}p50_ms'])} / {number(row[f'{prefix}p95_ms'])}"
        return times if share is None else f"{times} ({share:.0%})"

    head = ("variant", *(f"{stage}: p50 / p95 ms (share)" for stage in FRAME_STAGES))
    return table(head, [(row["variant"], *(cell(row, column_prefix(stage)) for stage in FRAME_STAGES)) for row in rows])


def _end_to_end_table(results: Results) -> str:
    """Milliseconds per frame of each pipeline, and ratios to the engine alone."""
    times, ratios = (f"{name}, ms" for name in PIPELINES), (f"{name}, ratio" for name in PIPELINES[1:])
    head = ("workload", "variant", "frames", *times, *ratios)
    cells = []
    for whole in results.end_to_end:
        engine, *others = (float(np.median(whole.ms_per_frame[name])) for name in PIPELINES)
        ratios = (f"{spent / engine:.3f}" for spent in others)
        cells.append((whole.workload.name, whole.variant, whole.frames, *map(number, (engine, *others)), *ratios))
    return table(head, cells)


def _pipeline_table(results: Results) -> str:
    head = ("workload", *(f"{stage}: p50 / p95 ms" for stage in PIPELINE_STAGES), "finish ms, per clip")
    cells = []
    for whole in results.end_to_end:
        times = (np.percentile(whole.stage_ms[stage], (50, 95)) for stage in PIPELINE_STAGES)
        finish = number(float(np.median(whole.stage_ms["finish"])))
        cells.append((whole.workload.name, *(f"{number(p50)} / {number(p95)}" for p50, p95 in times), finish))
    return table(head, cells)


def _peak_table(results: Results) -> str:
    cells = [
        (p["workload"], p["variant"], p["result"], *(megabytes(p[size]) for size in PEAK_COLUMNS))
        for p in results.peaks
    ]
    return table(("workload", "variant", "result", "peak MB", "above the first frame MB"), cells)


def _curve_table(results: Results) -> str:
    cells = []
    for title, axis in results.config.curve.axes().items():
        for variant in results.config.curve.variants:
            curve = points(axis, variant, results.rows)
            cells.append((title, variant, ", ".join(f"{x:g}: {number(ms)}" for x, ms in curve)))
    return table(("against", "variant", "ms per frame"), cells)
