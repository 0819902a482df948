"""How many CPU cores this process may use, and how its threads wait for each other."""

import math
import os
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

ROOT = Path("/")  # where `proc` and `sys` lie
LOAD = Path("/proc/loadavg")


def usable_cores() -> int:
    """Cores that this process's affinity allows, or the share of them that its control groups allow, rounded up."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, math.ceil(min(cores, *_quotas(), math.inf)))


def yield_while_waiting() -> None:
    """Before torch is loaded: where others compute on this machine now, its threads sleep while they wait.

    Spinning, as by default, they hold the core that the thread waited for needs; on an idle machine it saves the time
    of waking up. What the environment says already stays.
    """
    try:
        running = int(LOAD.read_text(encoding="ascii").split()[3].partition("/")[0])  # this process is one of them
    except (OSError, ValueError, IndexError):
        return
    if running > 1:
        os.environ.setdefault("OMP_WAIT_POLICY", "passive")


def control_groups(controller: str, root: Path) -> Iterator[tuple[Path, int]]:
    """Folders of this process's control groups on Linux and of the ones around them, whose limits hold too.

    Args:
        controller: `cpu` or `memory`.
        root: Where `proc` and `sys` lie.

    Returns:
        Each with the version, 1 or 2, that says what its files are called. Seen from a container, its own group may be
        the top.
    """
    try:
        lines = (root / "proc/self/cgroup").read_text(encoding="utf-8").splitlines()
    except OSError:
        return
    for _, controllers, own in (line.split(":", 2) for line in lines):
        if controllers and controller not in controllers.split(","):
            continue
        for path in (PurePosixPath(own), *PurePosixPath(own).parents):
            base = root / "sys/fs/cgroup" / (controller if controllers else "")
            yield base / str(path).lstrip("/"), 1 if controllers else 2


def _quotas() -> Iterator[float]:
    """CPU quotas of this process's control groups, in cores."""
    for folder, version in control_groups("cpu", ROOT):
        try:
            if version == 1:
                quota, period = ((folder / f"cpu.cfs_{name}_us").read_text() for name in ("quota", "period"))
            else:
                quota, period = (folder / "cpu.max").read_text().split()
            if float(quota) > 0:  # -1 is no limit
                yield float(quota) / float(period)
        except (OSError, ValueError):
            continue  # no such file, or "max": no limit
