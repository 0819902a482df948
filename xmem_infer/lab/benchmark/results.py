"""All that a run of the benchmark found, and what follows from it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .config import BASELINES, BenchmarkConfig
from .curves import workloads_of
from .end_to_end import EndToEnd
from .interleaved import Line
from .peak_memory import PeakMemory
from .workloads import Workload


@dataclass(frozen=True)
class Findings:
    """context: machine, versions, subject. active: by variant, what it does. lines: of the curves, too.

    missing: what was asked for and is not measured yet, or was not when the run was stopped.
    """

    config: BenchmarkConfig
    context: Mapping[str, Any]
    active: Mapping[str, Sequence[str]]
    lines: list[Line]
    peaks: list[PeakMemory]
    end_to_end: list[EndToEnd]
    missing: Sequence[str] = ()

    def of(self, workload: Workload) -> list[Line]:
        """The lines of a workload, in the order of the variants."""
        return [line for line in self.lines if line.workload == workload]

    def asked_for(self) -> list[Workload]:
        """The workloads of the tables, in the order of the settings; the others lie on curves only."""
        found = {line.workload.name: line.workload for line in self.lines}
        return [found[name] for name in self.config.workloads if name in found]

    def has_curves(self) -> bool:
        """Whether every workload of the curves was measured."""
        measured = {line.workload for line in self.lines}
        return self.config.curves and measured.issuperset(workloads_of(self.config.curve))

    def ratio(self, line: Line, baseline: str) -> float | None:
        """How many times as long the baseline takes for the same; None where it was not measured."""
        other = next((found for found in self.of(line.workload) if found.variant == baseline), None)
        return None if other is None else other.frame_ms / line.frame_ms

    def flat(self) -> list[dict[str, Any]]:
        """A row per line, with its ratios and its peak memory."""
        peaks = {(peak.workload, peak.variant): peak for peak in self.peaks}
        rows = []
        for line in self.lines:
            peak = peaks.get((line.workload.name, line.variant))
            rows.append(
                {
                    **line.flat(),
                    **{f"times_{baseline}": self.ratio(line, baseline) for baseline in BASELINES},
                    "peak_bytes": None if peak is None else peak.total_bytes,
                    "above_first_frame_bytes": None if peak is None else peak.video_bytes,
                }
            )
        return rows
