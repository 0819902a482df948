"""The benchmark as files: results.csv, report.md, times.png."""

import csv
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ...errors import UsageError
from ..charts import new_figure, save
from ..report import megabytes, number, setting_table, table, write_csv, write_page
from .config import BenchmarkConfig
from .end_to_end import ENGINE, FRAMES, MASKS, PIPELINES
from .interleaved import Row, column_prefix
from .peak_memory import PEAK_COLUMNS
from .stages import FRAME_STAGES
from .variants import BASELINES, PUBLISHED_FP32, variant_names
from .workload_runner import MEMORY_EVERY
from .workloads import parse_workload

COLUMNS = 3
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
    """Settings and results of a benchmark so far."""

    config: BenchmarkConfig
    setting: Mapping[str, Any]  # machine and subject of the measurement, see `report.setting`
    active: dict[str, Sequence[str]] = field(default_factory=dict)  # optimisations in use by variant
    rows: list[Row] = field(default_factory=list)  # times
    peaks: list[Row] = field(default_factory=list)  # peak memory
    end_to_end: list[Row] = field(default_factory=list)
    missing: Sequence[str] = ()  # names of the parts that have not been measured yet


def write_report(results: Results, folder: Path) -> Path:
    """Write report.md, results.csv and the picture. Return the path of the page. Raises EnvironmentFault."""
    peaks = {(peak["workload"], peak["variant"]): peak for peak in results.peaks}
    rows = []
    for row in results.rows:
        peak = peaks.get((row["workload"], row["variant"]), {})
        rows.append({**row, **{name: peak.get(name) for name in PEAK_COLUMNS}})
    write_csv(folder / "results.csv", rows)
    _draw_times(rows, results.config.workloads, folder)
    write_page(folder / "report.md", _parts(results))
    return folder / "report.md"


def redraw(config: BenchmarkConfig, folder: Path) -> None:
    """Draw the picture of a report again from its results.csv. Raises UsageError if that file is missing."""
    if not (folder / "results.csv").is_file():
        raise UsageError(f"redraw={folder} has no results.csv: give the folder of a report of this script")
    with (folder / "results.csv").open(newline="", encoding="utf-8") as file:
        _draw_times(list(csv.DictReader(file)), config.workloads, folder)


def _parts(results: Results) -> Iterator[str]:
    yield "# Speed against the published formulation"
    if results.missing:
        yield f"**Not finished.** Still to be measured: {', '.join(results.missing)}."
    yield setting_table(results.setting)
    yield HOW
    yield table(("variant", "what is active"), [(name, "; ".join(active)) for name, active in results.active.items()])
    yield "## Time per frame"
    yield "![Speed against the published formulation](times.png)"
    for name in results.config.workloads:
        if rows := [row for row in results.rows if row["workload"] == name]:
            yield f"### {name}: {parse_workload(name).description}"
            yield _times_table(rows)
            yield _stage_table(rows)
    if results.peaks:
        yield "## Peak memory"
        yield PEAK
        yield _peak_table(results.peaks)
    if results.end_to_end:
        yield "## From video file to masks on disk"
        yield END_TO_END
        yield _end_to_end_table(results.end_to_end)


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


def _end_to_end_table(rows: Sequence[Row]) -> str:
    """Milliseconds per frame of each pipeline, and ratios to the engine alone."""
    times, ratios = (f"{name}, ms" for name in PIPELINES), (f"{name}, ratio" for name in PIPELINES[1:])
    cells = [
        (row["workload"], row["variant"], FRAMES, *(number(row[name]) for name in PIPELINES),
         *(f"{row[name] / row[ENGINE]:.3f}" for name in PIPELINES[1:]))
        for row in rows
    ]  # fmt: skip
    return table(("workload", "variant", "frames", *times, *ratios), cells)


def _peak_table(peaks: Sequence[Row]) -> str:
    cells = [(p["workload"], p["variant"], p["result"], *(megabytes(p[size]) for size in PEAK_COLUMNS)) for p in peaks]
    return table(("workload", "variant", "result", "peak MB", "above the first frame MB"), cells)


def _draw_times(rows: Sequence[Row], workloads: Sequence[str], folder: Path) -> None:
    """Draw a panel per workload with the speed-up of every variant over the published formulation in fp32.

    If the published formulation was not measured on every workload, draw milliseconds per frame instead.
    """
    times = {(row["workload"], row["variant"]): float(row["p50_ms"]) for row in rows}
    shown = [name for name in workloads if any(workload == name for workload, _ in times)]
    variants = [name for name in variant_names() if any((workload, name) in times for workload in shown)]
    relative = all((workload, PUBLISHED_FP32) in times for workload in shown)
    columns = min(COLUMNS, len(shown))
    lines = -(-len(shown) // columns)
    figure = new_figure(1.5 + 3.9 * columns, 0.6 + lines * (0.4 + 0.24 * len(variants)))
    panels = list(figure.subplots(lines, columns, sharex=relative, sharey=True, squeeze=False).flat)
    for panel, workload in zip(panels, shown, strict=False):
        here = {name: times[workload, name] for name in variants if (workload, name) in times}
        lengths = {name: here[PUBLISHED_FP32] / spent if relative else spent for name, spent in here.items()}
        for name, length in lengths.items():
            y, fastest = variants.index(name), here[name] == min(here.values())
            panel.barh(y, length, 0.8, color=f"C{y % 10}")
            text = f"{length:.1f}x  ({_milliseconds(here[name])})" if relative else _milliseconds(length)
            panel.text(length, y, f"  {text}", va="center", fontsize=8, weight="bold" if fastest else "normal")
        if relative:
            panel.axvline(1, color="C0", linewidth=1, linestyle=":")
        panel.set_title(parse_workload(workload).description, loc="left", fontsize=9)
        panel.set_yticks(range(len(variants)), variants, fontsize=8)
        panel.set_xlim(0, 1.4 * max(panel.get_xlim()[1] / 1.4, *lengths.values()))
        panel.set_xticks([])
        panel.spines[["top", "right", "bottom"]].set_visible(False)
    panels[0].invert_yaxis()
    for panel in panels[len(shown) :]:
        panel.set_visible(False)
    title = "Times as fast as the published formulation in fp32 (ms per frame)" if relative else "ms per frame"
    figure.suptitle(title, x=0.01, ha="left", fontsize=12)
    save(figure, folder, "times")


def _milliseconds(value: float) -> str:
    return f"{value:,.0f} ms" if value >= 20 else f"{value:.1f} ms"
