"""J&F against milliseconds per frame: networks in fp32 and int8, both baselines, the published network's time.

Results are saved in trade_off.csv, so that one call can score clips and another measure times on an idle machine.
"""

import csv
import json
import logging
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from time import perf_counter

import torch

from ..config import MemoryConfig, Precision, RuntimeConfig
from ..interrupts import check
from ..ops.cpu import cpu_capabilities
from ..weights.build import load_network
from .benchmark.interleaved import measure
from .benchmark.scene import block_mask, drifting_frames
from .benchmark.variants import make_variant
from .benchmark.workloads import XMEM, Workload, load_benchmark_network
from .charts import legend, new_figure, save, style_axes
from .report import cpu_model, number, table, write_csv, write_page
from .training.validation import BASELINES, CARRIED, COPIED, carry_by_flow, compare, find_clips, tracker

SIZE = 480  # px of the short side
ONE, TWO = TIMES = "ms, 1 object", "ms, 2 objects"
TIMED_ON = "timed on"
PUBLISHED = "XMem in published sizes fp32"
TICKS = (10, 20, 50, 100, 200, 500, 1000, 2000, 5000)  # of the time axis, ms
VARIANTS = {"fp32": "fast", "int8": "openvino"}
REMARKS = (
    "Time of an average frame at 854x480 with full memory, median of interleaved rounds; copying masks takes no "
    "time. The published network has random weights here: its time is measured, its J&F is not.",
    "Candidates were trained equally, for minutes, after the first long run. Such a short training favours networks "
    "that start with fitting weights (today's trunk, key and decoder widths), and says little about the others.",
)
log = logging.getLogger(__name__)
# Cells by method, then by column. A column with a colon is the J&F of one clip, which the page does not show.
Rows = dict[str, dict[str, str]]
Subjects = Mapping[str, tuple[Path, str]]  # weights and precision by method


def read_rows(folder: Path) -> Rows:
    """Read the results of earlier calls; empty if there is no file."""
    path = folder / "trade_off.csv"
    if not path.is_file():
        return {}
    with path.open(encoding="utf-8", newline="") as file:
        return {row["method"]: row for row in csv.DictReader(file)}


def score_clips(rows: Rows, root: Path, frames: int | None, subjects: Subjects) -> str:
    """Add J&F in percent on the clips of a folder in DAVIS layout, at most `frames` of each. Return the new column."""
    column = root.name + (f", {frames} frames" if frames else "")
    # The baselines depend on the clips alone, so they are scored only once.
    tracks = {name: track for name, track in BASELINES.items() if not rows.get(name, {}).get(column)}
    for name, (path, precision) in subjects.items():
        runtime = RuntimeConfig(precision=Precision(precision), variant=VARIANTS[precision])
        tracks[name] = tracker(load_network(path).network, SIZE, runtime, MemoryConfig())
        if precision == "int8":  # built from the first frames segmented: now, so that all scored frames are int8
            tracks[name](find_clips(root)[0])
    for row in compare(find_clips(root, frames=frames), tracks):
        scores = {video.name: video.measures.overall for video in row.videos}
        _fill(rows, row.method, column, row.measures.overall, scores)
    return column


def trained_scores(rows: Rows, column: str, subjects: Subjects) -> None:
    """Fill `column` with the scores that training stored in the files, of clips with one object each."""
    for name, (path, _) in subjects.items():
        if scores := json.loads(load_network(path).metadata.get("scores", "null")):
            _fill(rows, name, column, sum(scores.values()) / len(scores), scores)


def _fill(rows: Rows, method: str, column: str, overall: float, clips: Mapping[str, float]) -> None:
    scores = {column: overall, **{f"{column}: {clip}": score for clip, score in clips.items()}}
    rows.setdefault(method, {}).update({key: f"{100 * score:.2f}" for key, score in scores.items()})


def time_frames(rows: Rows, subjects: Subjects, rounds: int) -> None:
    """Measure milliseconds per frame of all networks in interleaved rounds on the same frames, and note the machine."""
    networks = {name: (load_network(path).network, precision) for name, (path, precision) in subjects.items()}
    networks[PUBLISHED] = load_benchmark_network(XMEM, None), "fp32"
    variants = [
        replace(make_variant(f"{VARIANTS[precision]}_{precision}", network), name=name)
        for name, (network, precision) in networks.items()
    ]

    def progress(line: str) -> None:
        check()
        log.info(line)

    for objects, column in enumerate(TIMES, 1):
        workload = Workload(SIZE, objects)
        p50_ms = {row["variant"]: row["p50_ms"] for row in measure(workload, variants, rounds, progress)}
        frames, mask = drifting_frames(workload, 11), block_mask(workload)
        started = perf_counter()
        carry_by_flow(frames, mask)
        flow_ms = 1000 * (perf_counter() - started) / (len(frames) - 1)
        for method, spent in {**p50_ms, CARRIED: flow_ms, COPIED: 0.0}.items():
            rows.setdefault(method, {}).update({column: f"{spent:.2f}", TIMED_ON: _machine()})


def _machine() -> str:
    """Describe what times depend on: CPU, its instruction sets, threads, version of torch."""
    flags = ", ".join(
        name for name, has in sorted(cpu_capabilities().items()) if has is True and name.startswith(("avx", "amx"))
    )
    return f"{cpu_model()} ({flags}), {torch.get_num_threads()} threads, torch {torch.__version__}"


def write_trade_off(folder: Path, rows: Rows) -> None:
    """Write trade_off.csv, .md and, if some rows have both a score and times, .png. Raises EnvironmentFault."""
    keys = {key for cells in rows.values() for key in cells} - {"method"}
    columns = sorted(keys, key=lambda key: (":" in key, key == TIMED_ON, key in TIMES, key))
    write_csv(folder / "trade_off.csv", [{"method": name, **{c: rows[name].get(c) for c in columns}} for name in rows])
    shown = [column for column in columns if ":" not in column and column != TIMED_ON]
    cells = [
        [name, *(number(_value(row, column)) for column in shown), row.get(TIMED_ON) or "-"]
        for name, row in rows.items()
    ]
    timed = {name: row for name, row in rows.items() if _value(row, ONE) and _value(row, TWO)}
    scores = [c for c in shown if c not in TIMES and any(_value(row, c) for row in timed.values())]
    if scores:
        _draw(folder, timed, scores)
    picture = "![the table as a picture](trade_off.png)" if scores else ""
    title = f"# J&F in per cent against milliseconds per frame, {SIZE} px of the short side"
    write_page(folder / "trade_off.md", [title, picture, table(["method", *shown, TIMED_ON], cells), *REMARKS])


def _draw(folder: Path, timed: Rows, scores: list[str]) -> None:
    figure = new_figure(1.0 + 3.6 * len(scores), 4.6)
    panels = figure.subplots(1, len(scores), squeeze=False, sharex=True)[0]
    for panel, column in zip(panels, scores, strict=True):
        for index, (name, row) in enumerate(timed.items()):
            times, score = [float(row[objects]) for objects in TIMES], _value(row, column)
            if name == PUBLISHED:
                panel.axvspan(*times, color="#dddddd", label=f"{name} (time alone)")
                continue
            style = {"color": f"C{index % 10}", "marker": "s" if name.endswith("int8") else "o"}
            if name == CARRIED:
                style = {"color": "black", "marker": "^"}
            # A method without a score in this column draws nothing but still appears in the legend.
            panel.plot(times[:1], [score], linestyle="", label=name, **style)
            panel.plot(times, [score, score], linewidth=1, markerfacecolor="none", **style)
        panel.set_xscale("log")
        panel.set_xticks(TICKS, [f"{tick:,}" for tick in TICKS], minor=False)
        panel.minorticks_off()
        panel.margins(y=0.15)
        panel.set_xlabel("ms per frame", fontsize=9)
        panel.set_title(f"J&F, {column}", loc="left", fontsize=9)
        style_axes(panel)
    legend(figure, panels[0], "J&F and time per frame; one object: full mark, two objects: hollow mark")
    save(figure, folder, "trade_off")


def _value(cells: Mapping[str, str], column: str) -> float | None:
    return float(cells[column]) if cells.get(column) else None
