"""Peak memory of a contender before a workload: the largest resident size of a fresh process."""

import json
import subprocess
import sys
from dataclasses import dataclass
from typing import Any

from ..child import child_environment

KILLED = -9  # SIGKILL: what the system does when memory is short


@dataclass(frozen=True)
class Sizes:
    """Resident bytes with libraries imported, with the network prepared, and at most while frames were segmented."""

    imported: int
    prepared: int
    peak: int


@dataclass(frozen=True)
class PeakMemory:
    """sizes: None where the process did not end well; status (ok | oom | failed) and reason then say why."""

    workload: str
    variant: str
    status: str
    sizes: Sizes | None = None
    reason: str = ""

    @property
    def total_bytes(self) -> int | None:
        """Network, memory and activations: all but the libraries."""
        return None if self.sizes is None else self.sizes.peak - self.sizes.imported

    @property
    def video_bytes(self) -> int | None:
        """Above the size before the first frame: what the video needs beside the network."""
        return None if self.sizes is None else self.sizes.peak - self.sizes.prepared

    def flat(self) -> dict[str, Any]:
        """For a table."""
        return {
            "workload": self.workload, "variant": self.variant, "status": self.status, "reason": self.reason,
            "peak_bytes": self.total_bytes, "above_first_frame_bytes": self.video_bytes,
        }  # fmt: skip


def measure_peak(workload: str, variant: str, weights: str | None, threads: int | None) -> PeakMemory:
    """Run an ordinary and a memory frame with memory filled, in a fresh process. What fails is a row."""
    package = __package__.partition(".")[0]
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            f"{package}.benchmark.memory_child",
            workload,
            variant,
            weights or "",
            str(threads or 0),
        ],
        capture_output=True,
        text=True,
        env=child_environment(),
        check=False,
    )
    if done.returncode == KILLED:
        return PeakMemory(workload, variant, "oom", reason="killed by the system, as it does when memory is short")
    if done.returncode != 0:
        lines = [line for line in done.stderr.splitlines() if line.strip()]
        reason = f"exit code {done.returncode}: {lines[-1] if lines else 'no message'}"
        return PeakMemory(workload, variant, "failed", reason=reason)
    return PeakMemory(workload, variant, "ok", Sizes(**json.loads(done.stdout)))
