"""All that a run of the benchmark found, and what follows from it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from .config import BenchmarkConfig
from .end_to_end import EndToEnd
from .interleaved import Measurement
from .peak_memory import PeakMemory
from .variants import BASELINES
from .workloads import Workload


@dataclass
class Results:
    """What was asked for, and what was found so far.

    Attributes:
        config: The settings.
        context: Machine, versions, subject.
        active: By variant, what makes it fast, in words.
        measurements: Of workloads and of points of the curves.
        missing: What is not measured yet, or was not when the run was stopped.
    """

    config: BenchmarkConfig
    context: Mapping[str, Any]
    active: Mapping[str, Sequence[str]]
    measurements: list[Measurement] = field(default_factory=list)
    peaks: list[PeakMemory] = field(default_factory=list)
    end_to_end: list[EndToEnd] = field(default_factory=list)
    missing: Sequence[str] = ()

    def of(self, workload: Workload) -> list[Measurement]:
        """The measurements of a workload, in the order of the variants."""
        return [found for found in self.measurements if found.workload == workload]

    def asked_for(self) -> list[Workload]:
        """The workloads of the tables, in the order of the settings; the others lie on curves only."""
        found = {one.workload.name: one.workload for one in self.measurements}
        return [found[name] for name in self.config.workloads if name in found]

    def ratio(self, measurement: Measurement, baseline: str) -> float | None:
        """How many times as long the baseline takes for the same; None where it was not measured."""
        others = {found.variant: found.frame_ms for found in self.of(measurement.workload)}
        return others[baseline] / measurement.frame_ms if baseline in others else None

    def rows(self) -> list[dict[str, Any]]:
        """results.csv: a row per workload and variant, with its ratios and its peak memory."""
        peaks = {(peak.workload, peak.variant): peak for peak in self.peaks}
        rows = []
        for found in self.measurements:
            peak = peaks.get((found.workload.name, found.variant))
            rows.append(
                {
                    **found.row(),
                    **{f"times_{baseline}": self.ratio(found, baseline) for baseline in BASELINES},
                    "peak_bytes": None if peak is None else peak.total_bytes,
                    "above_first_frame_bytes": None if peak is None else peak.video_bytes,
                }
            )
        return rows
