"""One thing varied at a time: objects, resolution, memory."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from .config import CurvesConfig
from .interleaved import Row
from .workloads import Workload, parse_workload


def axes_of(config: CurvesConfig) -> dict[str, dict[Workload, float]]:
    """Titles of the x axes; of each its workloads in order and where they stand on it."""
    base = parse_workload(config.base)
    objects = [replace(base, objects=count) for count in sorted(set(config.objects))]
    heights = [replace(base, height=height) for height in sorted(set(config.heights))]
    memory = [replace(base, memory_frames=frames) for frames in sorted(set(config.memory_frames))]
    return {
        "objects": {workload: workload.objects for workload in objects},
        "megapixels": {workload: workload.height * workload.width / 1e6 for workload in heights},
        "tokens in memory": {w: w.memory_tokens for w in [*memory, replace(base, long_term=True)]},
    }


def workloads_of(config: CurvesConfig) -> list[Workload]:
    """Every workload on a curve, once. Raises UsageError for one that is not possible."""
    found = dict.fromkeys(workload for axis in axes_of(config).values() for workload in axis)
    return [parse_workload(workload.name) for workload in found]


def are_measured(config: CurvesConfig, rows: Sequence[Row]) -> bool:
    """Whether rows hold every point of every curve."""
    found = {(row["workload"], row["variant"]) for row in rows}
    return all((w.name, variant) in found for w in workloads_of(config) for variant in config.variants)


def points(axis: Mapping[Workload, float], variant: str, rows: Sequence[Row]) -> list[tuple[float, float]]:
    """Where it stands and milliseconds per frame, of the workloads that were measured."""
    found = {row["workload"]: float(row["p50_ms"]) for row in rows if row["variant"] == variant}
    return [(place, found[workload.name]) for workload, place in axis.items() if workload.name in found]
