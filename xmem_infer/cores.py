"""How many CPU cores this process may use."""

import math
import os
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

PROCESS = Path("/proc/self/cgroup")
CONTROL_GROUPS = Path("/sys/fs/cgroup")


def usable_cores() -> int:
    """Cores that this process's affinity allows, or the share of them that its control groups allow, rounded up."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, math.ceil(min(cores, *_quotas(), math.inf)))


def _quotas() -> Iterator[float]:
    """CPU quotas of this process's control groups and the ones around them, in cores; of Linux, version 1 and 2."""
    try:
        lines = PROCESS.read_text(encoding="utf-8").splitlines()
    except OSError:
        return
    for _, controllers, own in (line.split(":", 2) for line in lines):
        if controllers and "cpu" not in controllers.split(","):
            continue
        for path in (PurePosixPath(own), *PurePosixPath(own).parents):
            folder = CONTROL_GROUPS / ("cpu" if controllers else "") / str(path).lstrip("/")
            try:
                if controllers:
                    quota, period = ((folder / f"cpu.cfs_{name}_us").read_text() for name in ("quota", "period"))
                else:
                    quota, period = (folder / "cpu.max").read_text().split()
                if float(quota) > 0:  # -1 is no limit
                    yield float(quota) / float(period)
            except (OSError, ValueError):
                continue  # no such file, or "max": no limit
