"""Interleaved rounds: each one runs every variant once on the same frames, and the yardstick beside them."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from .stages import FRAME_STAGES
from .variants import BASELINES, Variant
from .workload_runner import FRAME, RoundTimes, WorkloadRunner
from .workloads import Workload
from .yardstick import best_rate

Row = dict[str, Any]  # of results.csv: one variant on one workload, see `_row`
Step = Callable[[str], object]  # called before each piece of work, with its description; may raise to stop


def measure(workload: Workload, variants: Sequence[Variant], rounds: int, step: Step) -> list[Row]:
    """Measure variants in turns, every other round backwards; a row each.

    Before the first round every variant's memory is filled, and it is warmed up while its operations are counted.
    """
    runners, flops = [], {}
    for variant in variants:
        step(f"{workload.name}: filling the memory of {variant.name}")
        runners.append(WorkloadRunner(variant, workload))
        if variant.prepared.backend == "compiled":  # compiled code hides its operations
            runners[-1].run_round()
        else:
            flops[variant.name] = runners[-1].flops()
    times: dict[str, list[RoundTimes]] = {variant.name: [] for variant in variants}
    yardsticks = {variant.prepared.precision: 0.0 for variant in variants}
    for number in range(rounds):
        yardsticks = {precision: max(best, best_rate(precision)) for precision, best in yardsticks.items()}
        for runner in runners if number % 2 == 0 else reversed(runners):
            step(f"{workload.name}: {runner.variant.name}")
            times[runner.variant.name].append(runner.run_round())
    rows = []
    for variant in variants:
        counted = flops.get(variant.name.replace("compiled", "fast"), {})  # compiled code computes what `fast` does
        rows.append(_row(workload, variant, times[variant.name], counted, yardsticks[variant.prepared.precision]))
    found = {row["variant"]: row["p50_ms"] for row in rows}
    for row in rows:
        for name in BASELINES:
            row[f"times_{name}"] = found[name] / row["p50_ms"] if name in found else None
    return rows


def _row(
    workload: Workload, variant: Variant, rounds: Sequence[RoundTimes], flops: Mapping[str, float], yardstick: float
) -> Row:
    """Times of the whole frame and of each stage, arithmetic (None where it cannot be counted) and its share of what
    the yardstick (operations per second, the best of the same rounds) would do in the same time."""
    row: Row = {
        "workload": workload.name, "variant": variant.name, "precision": variant.prepared.precision.name,
        "height": workload.height, "width": workload.width, "objects": workload.objects,
        "memory_tokens": workload.memory_tokens, "rounds": len(rounds),
        "gflop": sum(flops.values()) / 1e9 if flops else None, "yardstick_gflops": yardstick / 1e9,
    }  # fmt: skip
    for stage in (FRAME, *FRAME_STAGES):
        p50, p95 = np.percentile([times.stage_ms(stage) for times in rounds], (50, 95))
        work = sum(flops.values()) if stage == FRAME else flops.get(stage, 0.0)
        share = work / (p50 / 1000 * yardstick) if work and p50 else None
        before = column(stage)
        row |= {f"{before}p50_ms": float(p50), f"{before}p95_ms": float(p95), f"{before}share_of_yardstick": share}
    return {**row, "fps": 1000 / row["p50_ms"]}


def column(stage: str) -> str:
    """How the columns of a stage begin; those of the whole frame have no such beginning."""
    return "" if stage == FRAME else f"{stage.replace(' ', '_')}_"
