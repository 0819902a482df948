"""Settings of the benchmark; `configs/benchmark.yaml` is merged on these. Variants are checked in variants.py."""

from dataclasses import dataclass, field, replace

from ...config import require
from .workloads import Workload, parse_workload


@dataclass
class CurvesConfig:
    """What varies around `base` in the curves, one thing at a time."""

    variants: list[str] = field(default_factory=lambda: ["published_fp32", "fast_bf16"])  # those drawn
    base: str = "480p_2"  # the workload around which one thing at a time varies
    objects: list[int] = field(default_factory=lambda: [1, 2, 5, 10])  # numbers of objects
    heights: list[int] = field(default_factory=lambda: [240, 360, 480, 720])  # px of the short side
    memory_frames: list[int] = field(default_factory=lambda: [1, 3, 6, 9])  # working memory; and full long-term memory

    def __post_init__(self) -> None:
        for name in ("variants", "objects", "heights", "memory_frames"):
            require(len(getattr(self, name)) > 0, f"curve.{name}", [], "a list with at least one entry")
        for frames in self.memory_frames:
            require(1 <= frames <= 9, "curve.memory_frames", frames, "between 1 and 9")
        base = parse_workload(self.base)
        plain = Workload(base.height, base.objects, network=base.network) == base
        require(plain, "curve.base", self.base, "a workload with full memory, without long-term memory")

    def axes(self) -> dict[str, dict[Workload, float]]:
        """Titles of the x axes; of each its workloads in order and where they stand on it."""
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
        """Every workload on a curve, once. Raises UsageError for one that is not possible."""
        found = dict.fromkeys(workload for axis in self.axes().values() for workload in axis)
        return [parse_workload(workload.name) for workload in found]


@dataclass
class EndToEndConfig:
    """From a video file to masks on disk, against the engine alone."""

    workloads: list[str] = field(default_factory=lambda: ["480p_2", "tiny_480p_1"])  # video to masks; []: not measured
    variant: str = "fast_bf16"  # a backend and a precision
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
    redraw: str | None = None  # folder of an earlier report, whose pictures are drawn anew from its results.csv
    weights: str | None = None  # of the workloads that name no network; null: published sizes, random numbers by seed
    workloads: list[str] = field(  # height, objects, what memory holds
        default_factory=lambda: [
            "480p_1", "480p_2", "480p_5", "480p_10", "480p_2_long_term", "720p_2",
            "tiny_480p_1", "tiny_480p_2", "tiny_480p_5",
        ]
    )  # fmt: skip
    variants: list[str] | None = None  # null: baselines and all backends but `compiled`
    rounds: int = 3  # each runs every variant once, every other one backwards
    peak_memory: list[str] = field(default_factory=lambda: ["480p_2", "480p_2_long_term"])  # of these; []: not measured
    curves: bool = True  # time against objects, height and memory
    curve: CurvesConfig = field(default_factory=CurvesConfig)
    end_to_end: EndToEndConfig = field(default_factory=EndToEndConfig)
    runtime: BenchmarkRuntime = field(default_factory=BenchmarkRuntime)

    def __post_init__(self) -> None:
        require(self.variants != [], "variants", [], "null or a list with at least one entry")
        require(len(self.workloads) > 0, "workloads", [], "a list with at least one entry")
        # One name for one workload: 480p_2_9frames is 480p_2.
        self.workloads, self.peak_memory = unique_names(self.workloads), unique_names(self.peak_memory)
        require(self.rounds >= 1, "rounds", self.rounds, "at least 1")


@dataclass
class WorkersConfig:
    """Settings of `scripts/benchmark_workers.py`."""

    video_dir: str | None = None  # several videos, as eval.py takes them; null: copies of examples/clip
    clips: int = 4  # copies of the example clip
    weights: str = "auto"  # path, or the name of a published checkpoint
    workers: int = 2  # processes against one
    rounds: int = 3  # medians are taken over them
    size: int = 240  # px of the short side

    def __post_init__(self) -> None:
        require(self.workers >= 2, "workers", self.workers, "at least 2: they are compared with one process")
        require(self.rounds >= 1, "rounds", self.rounds, "at least 1")
        require(self.video_dir is not None or self.clips >= self.workers, "clips", self.clips, "at least workers")


def unique_names(workloads: list[str]) -> list[str]:
    """Each workload once, by the one name it has. Raises UsageError for one that is not possible."""
    return list(dict.fromkeys(parse_workload(name).name for name in workloads))
