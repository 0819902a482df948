"""Interleaved rounds: each one runs every variant once on the same frames, and the yardstick beside them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ...config import Precision
from .roofline import probe
from .stages import FRAME_STAGES
from .variants import Variant
from .workload_runner import FRAME, RoundTimes, WorkloadRunner
from .workloads import Workload

Step = Callable[[str], object]  # called before each piece of work, with its description; may raise to stop


@dataclass(frozen=True)
class Measurement:
    """What a variant needed for a workload.

    Attributes:
        workload: What was segmented.
        variant: Its name.
        precision: What it computes in.
        rounds: One after the other.
        flops: Floating point operations per frame by stage; None where they cannot be counted.
        yardstick: Operations per second of the yardstick in this precision, the best of the same rounds.
    """

    workload: Workload
    variant: str
    precision: Precision
    rounds: Sequence[RoundTimes]
    flops: dict[str, float] | None
    yardstick: float

    @property
    def frame_ms(self) -> float:
        """Median over rounds."""
        return self.percentile_ms(50)

    @property
    def total_flops(self) -> float | None:
        """Per frame, all stages."""
        return None if self.flops is None else sum(self.flops.values())

    def percentile_ms(self, percent: float, stage: str = FRAME) -> float:
        """Of the rounds' means per frame."""
        return float(np.percentile([times.stage_ms(stage) for times in self.rounds], percent))

    def yardstick_share(self, stage: str = FRAME) -> float | None:
        """Part of the yardstick's operations per second that a stage reaches; None where it has nothing to count."""
        spent = self.percentile_ms(50, stage)
        flops = self.total_flops if stage == FRAME else (self.flops or {}).get(stage)
        return flops / (spent / 1000 * self.yardstick) if flops and spent else None

    def row(self) -> dict[str, Any]:
        """A row of results.csv."""
        stages = {
            f"{stage.replace(' ', '_')}_p{percent}_ms": self.percentile_ms(percent, stage)
            for stage in FRAME_STAGES
            for percent in (50, 95)
        }
        workload, flops = self.workload, self.total_flops
        return {
            "workload": workload.name, "variant": self.variant, "precision": self.precision.name,
            "height": workload.height, "width": workload.width, "objects": workload.objects,
            "memory_tokens": workload.memory_tokens, "rounds": len(self.rounds),
            "p50_ms": self.frame_ms, "p95_ms": self.percentile_ms(95), "fps": 1000 / self.frame_ms,
            "gflop": None if flops is None else flops / 1e9,
            "yardstick_gflops": self.yardstick / 1e9, "share_of_yardstick": self.yardstick_share(), **stages,
        }  # fmt: skip


def measure(workload: Workload, variants: Sequence[Variant], rounds: int, step: Step) -> list[Measurement]:
    """Measure variants in turns, every other round backwards.

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
        yardsticks = {precision: max(best, probe(precision)) for precision, best in yardsticks.items()}
        for runner in runners if number % 2 == 0 else reversed(runners):
            step(f"{workload.name}: {runner.variant.name}")
            times[runner.variant.name].append(runner.run_round())
    return [
        Measurement(
            workload, variant.name, variant.prepared.precision, times[variant.name],
            # compiled code computes what its uncompiled twin does
            flops.get(variant.name.replace("compiled", "fast")), yardsticks[variant.prepared.precision],
        )
        for variant in variants
    ]  # fmt: skip
