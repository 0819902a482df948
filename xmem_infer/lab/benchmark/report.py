"""The benchmark in files: results.csv, report.md, times.png, curves.png."""

import csv
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from ..report import megabytes, number, setting, table, write_csv, write_page
from .config import BenchmarkConfig
from .curves import are_measured, axes_of, points
from .end_to_end import MASKS, PIPELINE_STAGES, WAYS
from .plots import draw_curves, draw_times
from .results import Results
from .stages import FRAME_STAGES
from .variants import BASELINES
from .workload_runner import MEMORY_EVERY
from .workloads import Workload

HOW = (
    f"Times are milliseconds per frame with memory as the workload says: the mean over {MEMORY_EVERY} frames, four "
    "ordinary ones and a memory frame, plus a 25th of what a consolidation adds to a memory write; p50 and p95 are of "
    "these means, over rounds. Each round runs every variant once on the same two frames and the same state, every "
    "other round backwards; before them it warms up on these frames, while operations are counted. *Rest* is what the "
    "engine does between stages. *Yardstick*: the fastest of a few 3x3 convolutions and matrix products in that "
    "precision, run between the rounds; the share is the arithmetic of a variant (convolutions and products, its own "
    "count) over what the yardstick would do in the same time. Compare within this run only."
)
PEAK = (
    "Largest resident size of a fresh process during an ordinary and a consolidating memory frame with memory filled, "
    "above its size with libraries imported (network, memory, activations), and above its size before the first frame. "
    "What the allocator holds without using it is given back before."
)
END_TO_END = (
    "The whole of a clip, first frame included: *engine alone* has its frames decoded and normalised before; "
    f"*{MASKS}* opens an H.264 file, decodes it, and writes palette PNGs and the confidence table, as "
    "`scripts/eval.py` does, until everything has its final name."
)


def write_report(results: Results, folder: Path) -> None:
    """The page, its table and its pictures. Raises EnvironmentFault."""
    write_csv(folder / "results.csv", results.rows())
    _draw(results.rows(), results.config, folder)
    write_page(folder / "report.md", _parts(results))


def redraw(config: BenchmarkConfig, folder: Path) -> None:
    """The pictures of a report anew, from its results.csv. Raises EnvironmentFault."""
    with (folder / "results.csv").open(newline="", encoding="utf-8") as file:
        _draw(list(csv.DictReader(file)), config, folder)


def _draw(rows: Sequence[dict[str, str]], config: BenchmarkConfig, folder: Path) -> None:
    draw_times(rows, config.workloads, folder)
    if config.curves and are_measured(config.curve, rows):
        draw_curves(rows, config.curve, folder)
    else:
        (folder / "curves.png").unlink(missing_ok=True)  # of an earlier run


def _parts(results: Results) -> Iterator[str]:
    yield "# Speed against the published formulation"
    if results.missing:
        yield f"**Not finished.** Still to be measured: {', '.join(results.missing)}."
    yield setting(results.context)
    yield HOW
    yield table(("variant", "what is active"), [(name, "; ".join(active)) for name, active in results.active.items()])
    yield "## Time per frame"
    yield "![Speed against the published formulation](times.png)"
    for workload in results.asked_for():
        yield f"### {workload.name}: {workload.description}"
        yield times_table(results, workload)
        yield _stage_table(results, workload)
    if results.peaks:
        yield "## Peak memory"
        yield PEAK
        yield _peak_table(results)
    if results.end_to_end:
        yield "## From video file to masks on disk"
        yield END_TO_END
        yield end_to_end_table(results)
        yield _pipeline_table(results)
    if results.config.curves and are_measured(results.config.curve, results.rows()):
        yield "## Curves"
        yield "![Time against objects, resolution and memory](curves.png)"
        yield _curve_table(results)


def times_table(results: Results, workload: Workload) -> str:
    """Times, ratios and share of the yardstick of every variant."""
    head = ("variant", "p50 ms", "p95 ms", "fps", *(f"x {name}" for name in BASELINES), "GFLOP", "share of yardstick")
    rows = []
    for found in results.of(workload):
        ratios = [results.ratio(found, baseline) for baseline in BASELINES]
        flops = found.total_flops
        rows.append(
            (found.variant, number(found.frame_ms), number(found.percentile_ms(95)), f"{1000 / found.frame_ms:.3g}",
             *("-" if ratio is None else f"{ratio:.2f}" for ratio in ratios),
             "-" if flops is None else f"{flops / 1e9:.3g}", _percent(found.yardstick_share()))
        )  # fmt: skip
    return table(head, rows)


def end_to_end_table(results: Results) -> str:
    """Milliseconds per frame each way, and ratios to the engine alone."""
    head = ("workload", "variant", "frames", *(f"{way}, ms" for way in WAYS), *(f"{way}, ratio" for way in WAYS[1:]))
    rows = []
    for whole in results.end_to_end:
        times = (number(float(np.median(whole.ms_per_frame[way]))) for way in WAYS)
        ratios = (f"{whole.ratio(way):.3f}" for way in WAYS[1:])
        rows.append((whole.workload.name, whole.variant, whole.frames, *times, *ratios))
    return table(head, rows)


def _stage_table(results: Results, workload: Workload) -> str:
    head = ("variant", *(f"{stage}: p50 / p95 ms (share)" for stage in FRAME_STAGES))
    rows = []
    for found in results.of(workload):
        cells = [found.variant]
        for stage in FRAME_STAGES:
            share = found.yardstick_share(stage)
            times = f"{number(found.percentile_ms(50, stage))} / {number(found.percentile_ms(95, stage))}"
            cells.append(times if share is None else f"{times} ({_percent(share)})")
        rows.append(cells)
    return table(head, rows)


def _peak_table(results: Results) -> str:
    rows = [
        (peak.workload, peak.variant, f"{peak.status}: {peak.reason}" if peak.reason else peak.status,
         megabytes(peak.total_bytes), megabytes(peak.video_bytes))
        for peak in results.peaks
    ]  # fmt: skip
    return table(("workload", "variant", "result", "peak MB", "above the first frame MB"), rows)


def _pipeline_table(results: Results) -> str:
    head = ("workload", *(f"{stage}: p50 / p95 ms" for stage in PIPELINE_STAGES), "finish ms, per clip")
    rows = []
    for whole in results.end_to_end:
        cells = [whole.workload.name]
        for stage in PIPELINE_STAGES:
            p50, p95 = np.percentile(whole.stage_ms[stage], (50, 95))
            cells.append(f"{number(p50)} / {number(p95)}")
        rows.append([*cells, number(float(np.median(whole.stage_ms["finish"])))])
    return table(head, rows)


def _curve_table(results: Results) -> str:
    rows = []
    for title, axis in axes_of(results.config.curve).items():
        for variant in results.config.curve.variants:
            found = points(axis, variant, results.rows())
            rows.append((title, variant, ", ".join(f"{place:g}: {number(spent)}" for place, spent in found)))
    return table(("against", "variant", "ms per frame"), rows)


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.0f}%"
