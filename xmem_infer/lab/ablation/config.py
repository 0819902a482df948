"""Settings of the ablation, merged with `configs/ablate.yaml`."""

from dataclasses import dataclass, field
from enum import Enum

from ...config import DataConfig, Device, GradMode, MemoryConfig, Precision, require

PRECISIONS = (Precision.fp32, Precision.tf32, Precision.fp16, Precision.bf16)  # that the network as written supports
WARMUP_FRAMES = 2  # at the start of each run, excluded from its times


class Suite(Enum):
    modes = "modes"
    documents = "documents"


@dataclass
class MatrixConfig:
    """Which values are combined, and how often each combination is measured."""

    grad_modes: list[GradMode] = field(default_factory=lambda: list(GradMode))  # modes to compare
    precisions: list[Precision] | None = None  # of fp32, tf32, fp16, bf16; null: all that the device supports
    sizes: list[int] = field(default_factory=lambda: [240, 480])  # px of the short side; -1 = original
    objects: list[int] = field(default_factory=lambda: [1, 3])  # if the mask has fewer, large objects are cut in two
    frames: list[int] = field(default_factory=lambda: [8])  # from the clip's start
    repeats: int = 2  # fresh processes per combination
    max_memory_gb: float = 8.0  # in 1e9 bytes; a run that exceeds it is stopped and reported as `oom`

    def __post_init__(self) -> None:
        for name in ("grad_modes", "precisions", "sizes", "objects", "frames"):
            values = getattr(self, name)
            require(values is None or len(values) > 0, f"ablate.{name}", values, "a list with at least one entry")
        for precision in self.precisions or ():
            known = ", ".join(one.name for one in PRECISIONS)
            require(precision in PRECISIONS, "ablate.precisions", precision.name, f"of {known}; null: all")
        for size in self.sizes:
            DataConfig(size=size)
        for objects in self.objects:
            require(1 <= objects <= 255, "ablate.objects", objects, "between 1 and 255")
        for frames in self.frames:
            require(frames > WARMUP_FRAMES, "ablate.frames", frames, f"more than {WARMUP_FRAMES}, which are a warm-up")
        require(self.repeats >= 1, "ablate.repeats", self.repeats, "at least 1")
        require(self.max_memory_gb >= 0.5, "ablate.max_memory_gb", self.max_memory_gb, "at least 0.5")


@dataclass
class DocumentsConfig:
    hidden: int = 50_000  # width of the third document's example, whose weights take 2 GB; less for a small machine

    def __post_init__(self) -> None:
        require(self.hidden >= 1, "documents.hidden", self.hidden, "at least 1")


@dataclass
class AblationRuntime:
    device: Device = Device.auto  # auto: CUDA if there is one, else the CPU; memory can be measured on these two only
    threads: int | None = None  # CPU threads of torch in each run; null = torch's choice


@dataclass
class AblateConfig:
    video_dir: str | None = None  # one video, a file or a folder of frames; null: examples/clip
    mask: str | None = None  # image for the first frame, or folder of masks; null: searched beside the video
    output_dir: str | None = None  # null: output/ablation, or output/ablation_documents
    weights: str = "auto"  # path, or the name of a published checkpoint
    suite: Suite = Suite.modes  # documents: check the claims of the five documents
    ablate: MatrixConfig = field(default_factory=MatrixConfig)
    documents: DocumentsConfig = field(default_factory=DocumentsConfig)
    data: DataConfig = field(default_factory=DataConfig, metadata={"unread": ("size", "masks")})  # see ablate.sizes
    memory: MemoryConfig = field(default_factory=MemoryConfig, metadata={"unread": ("load", "save", "frozen")})
    runtime: AblationRuntime = field(default_factory=AblationRuntime)

    def __post_init__(self) -> None:
        require(self.data.size == DataConfig.size, "data.size", self.data.size, "left out: set ablate.sizes")
        for key in ("load", "save"):
            require(getattr(self.memory, key) is None, f"memory.{key}", getattr(self.memory, key), "null here")
