"""Settings of the benchmark, merged with `configs/benchmark.yaml`. Variant names are checked in variants.py."""

from dataclasses import dataclass, field, replace

from ...config import require
from .workloads import Workload, parse_workload


@dataclass
class CurvesConfig:
    """The curves: what varies around the workload `base`, one parameter at a time."""

    variants: list[str] = field(default_factory=lambda: ["published_fp32", "fast_bf16"])  # variants to draw
    base: str = "480p_2"  # workload around which one parameter at a time varies
    objects: list[int] = field(default_factory=lambda: [1, 2, 5, 10])  # numbers of objects
    heights: list[int] = field(default_factory=lambda: [240, 360, 480, 720])  # px of the short side
    memory_frames: list[int] = field(default_factory=lambda: [1, 3, 6, 9])  # in working memory; also: long-term full

    def __post_init__(self) -> None:
        for name in ("variants", "objects", "heights", "memory_frames"):
            require(len(getattr(self, name)) > 0, f"curve.{name}", [], "a list with at least one entry")
        for frames in self.memory_frames:
            require(1 <= frames <= 9, "curve.memory_frames", frames, "between 1 and 9")
        base = parse_workload(self.base)
        plain = Workload(base.height, base.objects, network=base.network) == base
        require(plain, "curve.base", self.base, "a workload with full memory, without long-term memory")

    def axes(self) -> dict[str, dict[Workload, float]]:
        """Return, by axis title, the workloads of the axis in order with their x coordinates."""
        base = parse_workload(self.base)
        objects = [replace(base, objects=count) for count in sorted(set(self.objects))]
        heights = [replace(base, height=height) for height in sorted(set(self.heights))]
        memory = [replace(base, memory_frames=frames) for frames in sorted(set(self.memory_frames))]
        return {
            "objects": {workload: workload.objects for workload in objects},
            "megapixels": {workload: workload.height * workload.width / 1e6 for workload in heights},
            "tokens in memory": {w: w.memory_tokens for w in [*memory, replace(base, long_term=True)]},
        }

    def workloads(self) -> list[Workload]:
        """Return all workloads of all curves without duplicates. Raises UsageError for an impossible one."""
        unique = dict.fromkeys(workload for axis in self.axes().values() for workload in axis)
        return [parse_workload(workload.name) for workload in unique]


@dataclass
class EndToEndConfig:
    """The comparison of the whole pipeline, from a video file to masks on disk, with the engine alone."""

    workloads: list[str] = field(default_factory=lambda: ["480p_2", "tiny_480p_1"])  # to measure; []: none
    variant: str = "fast_bf16"  # <backend>_<precision>
    frames: int = 25  # of the video file

    def __post_init__(self) -> None:
        require(self.frames >= 6, "end_to_end.frames", self.frames, "at least 6: the sixth is a memory frame")
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
    redraw: str | None = None  # folder of an earlier report: only redraw its pictures from its results.csv
    weights: str | None = None  # for workloads that name no network; null: published sizes with seeded random weights
    workloads: list[str] = field(  # [<network>_]<height>p_<objects>[_long_term|_<1-9>frames]
        default_factory=lambda: [
            "480p_1", "480p_2", "480p_5", "480p_10", "480p_2_long_term", "720p_2",
            "tiny_480p_1", "tiny_480p_2", "tiny_480p_5",
        ]
    )  # fmt: skip
    variants: list[str] | None = None  # null: baselines and all backends but `compiled`
    rounds: int = 3  # each runs every variant once, every other round in reverse order
    peak_memory: list[str] = field(default_factory=lambda: ["480p_2", "480p_2_long_term"])  # to measure; []: none
    curves: bool = True  # time against objects, height and memory
    curve: CurvesConfig = field(default_factory=CurvesConfig)
    end_to_end: EndToEndConfig = field(default_factory=EndToEndConfig)
    runtime: BenchmarkRuntime = field(default_factory=BenchmarkRuntime)

    def __post_init__(self) -> None:
        require(self.variants != [], "variants", [], "null or a list with at least one entry")
        require(len(self.workloads) > 0, "workloads", [], "a list with at least one entry")
        # Several names can mean one workload: 480p_2_9frames is 480p_2.
        self.workloads, self.peak_memory = unique_names(self.workloads), unique_names(self.peak_memory)
        require(self.rounds >= 1, "rounds", self.rounds, "at least 1")


@dataclass
class WorkersConfig:
    """Settings of `scripts/benchmark_workers.py`."""

    video_dir: str | None = None  # several videos, in any form that eval.py accepts; null: copies of examples/clip
    clips: int = 4  # number of copies of examples/clip
    weights: str = "auto"  # path, or the name of a published checkpoint
    workers: int = 2  # number of worker processes compared with one
    rounds: int = 3  # of both runs; their medians are compared
    size: int = 240  # px of the short side

    def __post_init__(self) -> None:
        require(self.workers >= 2, "workers", self.workers, "at least 2: they are compared with one process")
        require(self.rounds >= 1, "rounds", self.rounds, "at least 1")
        require(self.video_dir is not None or self.clips >= self.workers, "clips", self.clips, "at least workers")


def unique_names(workloads: list[str]) -> list[str]:
    """Return the canonical name of each workload, without duplicates. Raises UsageError for an impossible workload."""
    return list(dict.fromkeys(parse_workload(name).name for name in workloads))
