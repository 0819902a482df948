"""One thing varied at a time: objects, resolution, memory."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from .config import CurvesConfig
from .interleaved import Line, memory_tokens
from .workloads import Workload, parse_workload


@dataclass(frozen=True)
class Axis:
    """A curve's x axis: title, its workloads in order, and where each of them stands on it."""

    title: str
    workloads: Sequence[Workload]
    place: Callable[[Workload], float]


def axes_of(config: CurvesConfig) -> list[Axis]:
    """Objects, pixels (millions) and tokens in memory, around the base."""
    base = parse_workload(config.base)
    memory = [replace(base, memory_frames=frames) for frames in sorted(set(config.memory_frames))]
    return [
        Axis(
            "objects",
            [replace(base, objects=objects) for objects in sorted(set(config.objects))],
            lambda workload: workload.objects,
        ),
        Axis(
            "megapixels",
            [replace(base, height=height) for height in sorted(set(config.heights))],
            lambda workload: workload.height * workload.width / 1e6,
        ),
        Axis("tokens in memory", [*memory, replace(base, long_term=True)], memory_tokens),
    ]


def workloads_of(config: CurvesConfig) -> list[Workload]:
    """Every workload on a curve, once. Raises UsageError for one that is not possible."""
    found = dict.fromkeys(workload for axis in axes_of(config) for workload in axis.workloads)
    return [parse_workload(workload.name) for workload in found]


def points(axis: Axis, variant: str, lines: Sequence[Line]) -> list[tuple[float, float]]:
    """Where it stands and milliseconds per frame, of the workloads that were measured."""
    found = {line.workload: line.frame_ms for line in lines if line.variant == variant}
    return [(axis.place(workload), found[workload]) for workload in axis.workloads if workload in found]
