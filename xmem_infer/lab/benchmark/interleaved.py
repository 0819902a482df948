"""Measure variants in interleaved rounds. Each round runs every variant once on the same frames, and the yardstick."""

import timeit
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ...config import Precision
from ...errors import UsageError
from ...runtime.backends.differences import VERBS
from ...runtime.backends.int8 import FRAMES
from ...runtime.precision import HALF
from .stages import FRAME_STAGES
from .variants import BASELINES, OPAQUE, Variant
from .workload_runner import FRAME, ByStage, WorkloadRunner, average_frame
from .workloads import Workload

Row = dict[str, Any]  # a row of results.csv: one variant on one workload, see `_row`
Progress = Callable[[str], object]  # called with a description before each piece of work; may raise to stop

# The kernels of the yardstick: 3x3 convolutions as in the network at 480p, and a product of square matrices.
CONVOLUTIONS = ((128, 60, 107), (256, 30, 54), (512, 30, 54))  # channels, height, width
SIDE = 1024
REPEATS = 3


def measure(workload: Workload, variants: Sequence[Variant], rounds: int, progress: Progress) -> list[Row]:
    """Measure variants on a workload in interleaved rounds, every other round in reverse order. Return a row for each.

    Before the first round, the memory of every variant is filled, and the variant is warmed up while its operations are
    counted or until it is compiled.
    """
    runners, flops = [], {}
    for variant in variants:
        progress(f"{workload.name}: filling the memory of {variant.name}")
        runners.append(WorkloadRunner(variant, workload))
        if variant.prepared.backend in OPAQUE:
            _run_until_compiled(runners[-1])
        else:
            flops[variant.name] = runners[-1].flops()
    times: dict[str, list[ByStage]] = {variant.name: [] for variant in variants}
    yardsticks = {variant.prepared.precision: 0.0 for variant in variants}
    for number in range(rounds):
        yardsticks = {precision: max(best, best_rate(precision)) for precision, best in yardsticks.items()}
        for runner in runners if number % 2 == 0 else reversed(runners):
            progress(f"{workload.name}: {runner.variant.name}")
            times[runner.variant.name].append(average_frame(*runner.run_round()))
    rows = []
    for variant in variants:
        counted = flops.get(
            f"fast_{variant.prepared.precision.value}" if variant.prepared.backend in OPAQUE else variant.name, {}
        )
        rows.append(_row(workload, variant, times[variant.name], counted, yardsticks[variant.prepared.precision]))
    p50_ms = {row["variant"]: row["p50_ms"] for row in rows}
    for row in rows:
        for name in BASELINES:
            row[f"times_{name}"] = p50_ms[name] / row["p50_ms"] if name in p50_ms else None
    return rows


def _run_until_compiled(runner: WorkloadRunner) -> None:
    """Run until everything is compiled. Raises UsageError if one of the network's functions cannot be quantised.

    OpenVINO compiles an input shape when it meets it for the second time; int8 is calibrated on several memory frames.
    """
    int8 = getattr(runner.variant.prepared.network, "int8", None)
    for _ in range(FRAMES + 2 if int8 else 2):
        runner.run_round()
    if int8 and (missing := sorted(set(VERBS).difference(int8.parts()))):
        raise UsageError(
            f"{runner.variant.name} on {runner.workload.name}: {', '.join(missing)} cannot be quantised, so that int8 "
            "would not be measured: leave this variant out"
        )


def _row(
    workload: Workload, variant: Variant, rounds: Sequence[ByStage], flops: Mapping[str, float], yardstick: float
) -> Row:
    """Return the times of the whole frame and of each stage, their operations, and the share of the yardstick.

    The share compares the operations with those that the yardstick (operations per second, the best of the same rounds)
    would do in the same time. It is None if the operations cannot be counted.
    """
    row: Row = {
        "workload": workload.name, "variant": variant.name, "precision": variant.prepared.precision.name,
        "height": workload.height, "width": workload.width, "objects": workload.objects,
        "memory_tokens": workload.memory_tokens, "rounds": len(rounds),
        "gflop": flops[FRAME] / 1e9 if flops else None, "yardstick_gflops": yardstick / 1e9,
    }  # fmt: skip
    for stage in (FRAME, *FRAME_STAGES):
        p50, p95 = np.percentile([times[stage] for times in rounds], (50, 95))
        work = flops.get(stage)
        share = work / (p50 / 1000 * yardstick) if work and p50 else None
        prefix = column_prefix(stage)
        row |= {f"{prefix}p50_ms": float(p50), f"{prefix}p95_ms": float(p95), f"{prefix}share_of_yardstick": share}
    return {**row, "fps": 1000 / row["p50_ms"]}


def column_prefix(stage: str) -> str:
    """Return the prefix of a stage's columns, which is empty for the whole frame."""
    return "" if stage == FRAME else f"{stage.replace(' ', '_')}_"


def best_rate(precision: Precision) -> float:
    """Return the yardstick: operations per second of the fastest of its kernels on this machine's CPU."""
    dtype = HALF.get(precision, torch.float32)
    square = torch.ones(SIDE, SIDE, dtype=dtype)
    rates = [2 * SIDE**3 / _best_seconds(lambda: square @ square)]
    for channels, height, width in CONVOLUTIONS:
        x = torch.ones(1, channels, height, width, dtype=dtype).to(memory_format=torch.channels_last)
        weight = torch.ones(channels, channels, 3, 3, dtype=dtype).to(memory_format=torch.channels_last)
        seconds = _best_seconds(lambda x=x, weight=weight: F.conv2d(x, weight, padding=1))  # type: ignore[misc]
        rates.append(2 * 9 * channels * channels * height * width / seconds)
    return max(rates)


def _best_seconds(kernel: Callable[[], Tensor]) -> float:
    kernel()  # the first call is slower: it chooses an implementation and reorders weights
    return min(timeit.repeat(kernel, number=1, repeat=REPEATS))
