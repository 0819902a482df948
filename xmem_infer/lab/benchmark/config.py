"""Settings of the benchmark, merged with `configs/benchmark.yaml`. Variant names are checked in variants.py."""

from dataclasses import dataclass, field

from ...config import require
from .workloads import parse_workload


@dataclass
class EndToEndConfig:
    """The comparison of the whole pipeline, from a video file to masks on disk, with the engine alone."""

    workloads: list[str] = field(default_factory=lambda: ["480p_2", "tiny_480p_1"])  # to measure; []: none
    variant: str = "fast_bf16"  # <backend>_<precision>

    def __post_init__(self) -> None:
        self.workloads = unique_names(self.workloads)
        for name in self.workloads:
            even = parse_workload(name).height % 2 == 0
            require(even, "end_to_end.workloads", name, "of even height, as video files are")


@dataclass
class BenchmarkRuntime:
    threads: int | None = None  # CPU threads of torch; null = torch's choice


@dataclass
class BenchmarkConfig:
    output_dir: str | None = None  # null: output/benchmark
    redraw: str | None = None  # folder of an earlier report: only redraw its picture from its results.csv
    weights: str | None = None  # for workloads that name no network; null: published sizes with seeded random weights
    workloads: list[str] = field(  # [<network>_]<height>p_<objects>[_long_term]
        default_factory=lambda: [
            "480p_1", "480p_2", "480p_5", "480p_10", "480p_2_long_term", "720p_2",
            "tiny_480p_1", "tiny_480p_2", "tiny_480p_5",
        ]
    )  # fmt: skip
    variants: list[str] | None = None  # null: baselines and all backends but `compiled`
    rounds: int = 3  # each runs every variant once, every other round in reverse order
    peak_memory: list[str] = field(default_factory=lambda: ["480p_2", "480p_2_long_term"])  # to measure; []: none
    end_to_end: EndToEndConfig = field(default_factory=EndToEndConfig)
    runtime: BenchmarkRuntime = field(default_factory=BenchmarkRuntime)

    def __post_init__(self) -> None:
        require(self.variants != [], "variants", [], "null or a list with at least one entry")
        require(len(self.workloads) > 0, "workloads", [], "a list with at least one entry")
        self.workloads, self.peak_memory = unique_names(self.workloads), unique_names(self.peak_memory)
        require(self.rounds >= 1, "rounds", self.rounds, "at least 1")


@dataclass
class WorkersConfig:
    """Settings of `scripts/benchmark_workers.py`."""

    video_dir: str | None = None  # several videos, in any form that eval.py accepts
    weights: str = "auto"  # path, or the name of a published checkpoint
    workers: int = 2  # number of worker processes compared with one
    rounds: int = 3  # of both runs; their medians are compared
    size: int = 240  # px of the short side

    def __post_init__(self) -> None:
        require(self.workers >= 2, "workers", self.workers, "at least 2: they are compared with one process")
        require(self.rounds >= 1, "rounds", self.rounds, "at least 1")


def unique_names(workloads: list[str]) -> list[str]:
    """Return the workloads' names without duplicates. Raises UsageError for an impossible workload."""
    return list(dict.fromkeys(parse_workload(name).name for name in workloads))
