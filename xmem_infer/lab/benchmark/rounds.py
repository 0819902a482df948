"""Interleaved rounds: each one runs every contender once on the same frames, and the yardstick beside them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ...config import Precision
from ...interrupts import check
from .contenders import Contender
from .roofline import probe
from .stages import FRAME_STAGES
from .stand import FRAME, RoundTimes, Stand
from .workloads import Workload

Step = Callable[[str], object]  # told before each piece of work, which may stop here


@dataclass(frozen=True)
class Line:
    """What a contender needed for a workload. flops: per frame by stage, None where they cannot be counted.

    peak: operations per second of the yardstick in this precision, the best of the same rounds.
    """

    workload: Workload
    variant: str
    precision: Precision
    rounds: Sequence[RoundTimes]
    flops: dict[str, float] | None
    peak: float

    @property
    def frame_ms(self) -> float:
        """Median over rounds."""
        return self.percentile_ms(50)

    @property
    def total_flops(self) -> float | None:
        """Per frame, all stages."""
        return None if self.flops is None else sum(self.flops.values())

    @property
    def share(self) -> float | None:
        """Part of the yardstick's operations per second that a frame reaches."""
        return None if self.total_flops is None else self.total_flops / (self.frame_ms / 1000 * self.peak)

    def percentile_ms(self, percent: float, stage: str = FRAME) -> float:
        """Of the rounds' means per frame."""
        return float(np.percentile([times.stage_ms(stage) for times in self.rounds], percent))

    def stage_share(self, stage: str) -> float | None:
        """As `share`, of a stage; None where it has nothing to count."""
        spent = self.percentile_ms(50, stage)
        flops = 0.0 if self.flops is None else self.flops[stage]
        return flops / (spent / 1000 * self.peak) if flops and spent else None

    def flat(self) -> dict[str, Any]:
        """The line for a table: single values only."""
        stages = {
            f"{stage.replace(' ', '_')}_p{percent}_ms": self.percentile_ms(percent, stage)
            for stage in FRAME_STAGES
            for percent in (50, 95)
        }
        return {
            "workload": self.workload.name, "variant": self.variant, "precision": self.precision.name,
            "height": self.workload.height, "width": self.workload.width, "objects": self.workload.objects,
            "memory_tokens": memory_tokens(self.workload), "rounds": len(self.rounds),
            "p50_ms": self.frame_ms, "p95_ms": self.percentile_ms(95), "fps": 1000 / self.frame_ms,
            "gflop": None if self.total_flops is None else self.total_flops / 1e9,
            "yardstick_gflops": self.peak / 1e9, "share_of_yardstick": self.share, **stages,
        }  # fmt: skip


def memory_tokens(workload: Workload) -> int:
    """What an ordinary frame reads from, long-term memory taken at its capacity."""
    frame = -(-workload.height // 16) * -(-workload.width // 16)
    return workload.memory_frames * frame + 10_000 * workload.long_term


def steps_of(contenders: int, rounds: int) -> int:
    """How many pieces of work `measure` tells of."""
    return contenders * (1 + rounds)


def measure(workload: Workload, contenders: Sequence[Contender], rounds: int, step: Step) -> list[Line]:
    """Fill every contender's memory and warm it up on a round that counts operations; then go round, every other
    time backwards."""
    stands, flops = [], {}
    for contender in contenders:
        _announce(step, f"{workload.name}: filling the memory of {contender.name}")
        stands.append(Stand(contender, workload))
        if contender.prepared.backend == "compiled":  # compiled code hides its operations
            stands[-1].round()
        else:
            flops[contender.name] = stands[-1].flops()
    times: dict[str, list[RoundTimes]] = {contender.name: [] for contender in contenders}
    precisions = {contender.precision for contender in contenders}
    peaks = dict.fromkeys(precisions, 0.0)
    for number in range(rounds):
        peaks = {precision: max(peaks[precision], probe(precision)) for precision in precisions}
        for stand in stands if number % 2 == 0 else reversed(stands):
            _announce(step, f"{workload.name}: {stand.contender.name}")
            times[stand.contender.name].append(stand.round())
    return [
        Line(
            workload, contender.name, contender.precision, times[contender.name],
            # compiled code computes what its uncompiled twin does
            flops.get(contender.name.replace("compiled", "fast")), peaks[contender.precision],
        )
        for contender in contenders
    ]  # fmt: skip


def _announce(step: Step, words: str) -> None:
    check()
    step(words)
