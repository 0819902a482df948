"""Every setting, typed. YAML in `configs/` is merged on these; library users build them directly.

Not frozen, because Hydra's group overrides fail on frozen schemas. Choices are enums, because OmegaConf
refuses `Literal`; their names are what stands on the command line.
"""

import os
from dataclasses import dataclass, field
from enum import Enum
from numbers import Integral
from pathlib import Path
from types import UnionType
from typing import Any, TypeVar, get_args, get_type_hints

from .errors import UsageError

Choice = TypeVar("Choice", bound=Enum)


class OnCorrupt(Enum):
    fail = "fail"
    warn = "warn"


class MaskPolicy(Enum):
    auto = "auto"
    first = "first"
    all = "all"


class LateObjects(Enum):
    aligned = "aligned"
    published = "published"


class Device(Enum):
    auto = "auto"
    cpu = "cpu"
    cuda = "cuda"
    mps = "mps"


class GradMode(Enum):
    set_grad_enabled = "set_grad_enabled"
    no_grad = "no_grad"
    inference_mode = "inference_mode"
    enable_grad = "enable_grad"
    enable_grad_detached = "enable_grad_detached"

    @property
    def records(self) -> bool:
        """Whether autograd builds a graph in this mode."""
        return self in (GradMode.enable_grad, GradMode.enable_grad_detached)


class GivenMasks(Enum):
    first = "first"  # of each video the first file
    new_objects = "new_objects"  # all files; a later one gives labels not seen before, its 0 says nothing
    all = "all"


class SavedFrames(Enum):
    all = "all"
    annotated = "annotated"  # frames that have an annotation
    listed = "listed"  # frames that meta.json lists for any object


class Direction(Enum):
    forward = "forward"
    backward = "backward"
    both = "both"


class Precision(Enum):
    auto = "auto"
    fp32 = "fp32"
    tf32 = "tf32"
    fp16 = "fp16"
    bf16 = "bf16"
    int8 = "int8"


@dataclass
class DataConfig:
    size: int = 480  # px of the short side inside the network; -1 = original
    antialias: bool | None = None  # smooth frames when making them smaller; null: as the network was published
    on_corrupt: OnCorrupt = OnCorrupt.fail  # a frame that cannot be decoded
    masks: MaskPolicy = MaskPolicy.auto  # which of the masks there are given
    complete_masks: bool | None = None  # an object that a later mask leaves out is absent; null: in dataset=generic
    permanent: bool = False  # frames with a given mask stay in memory for the whole video
    max_pixels: int = 100_000_000  # px per frame; larger headers are refused before allocation
    range: list[float] | None = None  # values of 16-bit grey frames that become 0 and 255; null: by all the frames

    def __post_init__(self) -> None:
        read_choices(self, "data")
        require(self.size == -1 or self.size >= 16, "data.size", self.size, "-1 (original) or at least 16")
        require(self.max_pixels >= 1, "data.max_pixels", self.max_pixels, "at least 1")
        is_range = self.range is None or (len(self.range) == 2 and self.range[0] < self.range[1])
        require(is_range, "data.range", self.range, "null or two numbers, the lower one first, such as [300,3300]")


@dataclass
class MemoryConfig:
    kind: str = "auto"  # a memory by name; auto: the one that the network was published with
    memory_every: int = 5  # frames between memory frames (r)
    deep_update_every: int = -1  # frames; < 0: on every memory frame
    stagger_updates: int = 5  # of memory_every frames, how many update the sensory state (Cutie)
    long_term: bool = True  # consolidate old memory frames; false: they are kept (XMem) or dropped (Cutie)
    fifo_frames: int = 5  # kept without long-term memory, the first one included (Cutie)
    min_working_frames: int = 5  # T_min: memory frames that a consolidation leaves
    max_working_frames: int = 10  # T_max: memory frames that bring one about
    num_prototypes: int = 128  # P: tokens that a consolidation makes
    max_long_term_tokens: int = 10_000  # LT_max: tokens of consolidations that are kept
    buffer_tokens: int = 2_000  # room that a full long-term memory makes beyond what is needed (Cutie)
    top_k: int = 30  # tokens read per query
    late_objects: LateObjects = LateObjects.aligned  # how objects of later frames are paired with memory
    load: str | None = None  # a file of memory.save: its objects are tracked in this video, without a mask
    save: str | None = None  # where the memory of the video is written at its end, or that of its references
    frozen: bool = False  # nothing is added to the memory that was loaded

    def __post_init__(self) -> None:
        read_choices(self, "memory")
        for name in ("memory_every", "stagger_updates", "fifo_frames", "min_working_frames", "num_prototypes", "top_k"):
            require(getattr(self, name) >= 1, f"memory.{name}", getattr(self, name), "at least 1")
        require(self.deep_update_every != 0, "memory.deep_update_every", 0, "negative or at least 1")
        require(self.buffer_tokens >= 0, "memory.buffer_tokens", self.buffer_tokens, "at least 0")
        for name, lower in (("max_working_frames", "min_working_frames"), ("max_long_term_tokens", "num_prototypes")):
            found, least = getattr(self, name), getattr(self, lower)
            require(found > least, f"memory.{name}", found, f"more than memory.{lower} ({least})")
        for name in ("load", "save"):
            if getattr(self, name):
                setattr(self, name, os.path.expanduser(getattr(self, name)))
        require(not self.frozen or self.load is not None, "memory.frozen", True, "false, without memory.load=FILE")


@dataclass
class RuntimeConfig:
    device: Device = Device.auto  # auto: CUDA, MPS, else the CPU
    grad_mode: GradMode = GradMode.set_grad_enabled  # whether and how autograd is switched off
    precision: Precision = Precision.auto  # of the network; auto: by what the device computes fast
    variant: str = "auto"  # a backend by name: eager, fast, compiled, openvino; auto: see docs/modes-and-speed.md
    objects_at_once: int = 8  # in encoders and decoder; more are processed in turns, with the same result
    threads: int | None = None  # CPU threads of torch; null = torch's choice

    def __post_init__(self) -> None:
        read_choices(self, "runtime")
        require(self.objects_at_once >= 1, "runtime.objects_at_once", self.objects_at_once, "at least 1")
        require(self.threads is None or self.threads >= 1, "runtime.threads", self.threads, "null or at least 1")


@dataclass
class OutputConfig:
    masks: bool = True  # a PNG for each frame
    overlay: bool = True  # a video with the masks drawn in
    preview: bool = True  # a sheet of frames
    scores: bool = False  # probabilities as 8 bit arrays, large
    also: list[str] = field(default_factory=list)  # outputs that others registered, by name

    def __post_init__(self) -> None:
        read_choices(self, "output")


@dataclass
class ExecutorConfig:
    kind: str = "auto"  # in_process, processes, ray; auto: in_process for one worker, else processes
    address: str | None = None  # of a Ray cluster; null: $RAY_ADDRESS, else one is started on this machine

    def __post_init__(self) -> None:
        is_used = self.address is None or self.kind == "ray"
        require(is_used, "executor.address", self.address, "null, unless executor=ray")


@dataclass
class TtaConfig:
    """Several passes over each video, merged frame by frame: the mean of their probabilities decides."""

    flip: bool = False  # mirrored passes too
    only_flipped: bool = False  # mirrored passes alone, for merging saved scores
    sizes: list[int] = field(default_factory=list)  # px of the short side, a pass for each; none: data.size

    def __post_init__(self) -> None:
        read_choices(self, "tta")
        require(not (self.flip and self.only_flipped), "tta.only_flipped", True, "false where tta.flip=true")
        for size in self.sizes:
            require(size == -1 or size >= 16, "tta.sizes", self.sizes, "sizes of at least 16, or -1 (original)")
        require(len(set(self.sizes)) == len(self.sizes), "tta.sizes", self.sizes, "sizes that differ")


@dataclass
class DatasetConfig:
    """A benchmark: where its files lie below data_root, which masks are given, what is saved and scored."""

    name: str = "generic"
    title: str = "this data set"  # in messages
    layout: str = "folders"  # a layout by name: davis, ytvos, folders
    levels: list[str] = field(default_factory=lambda: ["."])  # below data_root, where the tree may begin
    split: str = ""  # of the ytvos layout
    video_lists: list[str] = field(default_factory=list)  # the first one there names the videos; none: folders
    given: GivenMasks = GivenMasks.first  # data.masks=first|all overrides it
    saved: SavedFrames = SavedFrames.all
    rules: str = "auto"  # of scoring: davis16 (one object), davis17 (255 is void), auto
    scored: bool = False  # the annotations are public
    videos: list[int] = field(default_factory=list)  # how many the whole set has (several: of its releases)
    published: dict[str, dict[str, float]] = field(default_factory=dict)  # checkpoint -> figure -> percent
    zip_root: str | None = None  # folder inside the zip for the server, "" = top; null: there is no server
    server: str = ""  # where to upload it

    def __post_init__(self) -> None:
        read_choices(self, "dataset")
        choices = ("auto", "davis16", "davis17")
        require(self.rules in choices, "dataset.rules", self.rules, f"one of {', '.join(choices)}")


@dataclass
class EvalConfig:
    video_dir: str | None = None  # folder of frames, video file, or folder with JPEGImages/ and Annotations/
    mask: str | None = None  # image (first frame) or folder of masks named after frames; null: looked for beside it
    references: str | None = None  # folder of masks named after frames, all of them in memory from the start
    direction: Direction = Direction.forward  # from the references: forward, backward or both
    dataset: DatasetConfig | None = None  # a benchmark by name; any of its rules can be changed: dataset.rules=davis17
    data_root: str | None = None  # the folder that dataset=NAME lies in
    score: bool = True  # J&F where all frames are annotated
    metrics: list[str] = field(default_factory=lambda: ["J", "F"])  # names of metrics; J&F is their mean
    output_dir: str | None = None  # null: output/<name of video_dir or data set>
    weights: str = "auto"  # path, or the name of a published checkpoint
    network: str = "auto"  # family of the checkpoint; auto: told by its entries
    overwrite: bool = False  # replace what other settings or inputs made in output_dir
    workers: int = 1  # processes, each with a network of its own; executor=ray: on the machines of a Ray cluster
    data: DataConfig = field(default_factory=DataConfig)
    memory: MemoryConfig = field(default_factory=MemoryConfig)
    runtime: RuntimeConfig = field(default_factory=RuntimeConfig)
    output: OutputConfig = field(default_factory=OutputConfig)
    tta: TtaConfig = field(default_factory=TtaConfig)
    executor: ExecutorConfig = field(default_factory=ExecutorConfig)

    def __post_init__(self) -> None:
        read_choices(self)
        require(self.workers >= 1, "workers", self.workers, "at least 1")
        require_names(self.metrics, "metrics")


def read_choices(config: Any, group: str = "") -> None:
    """Put members of enums for their names in a settings dataclass, as a library user may have made it by hand.

    Raises UsageError for a name that is none, and where numbers or truth values are something else.
    """
    for name, kind in get_type_hints(type(config)).items():
        value, key = getattr(config, name), f"{group}.{name}".lstrip(".")
        kinds = get_args(kind) if isinstance(kind, UnionType) else (kind,)
        if isinstance(kind, type) and issubclass(kind, Enum):
            setattr(config, name, choice(kind, value, key))
        elif bool in kinds:
            require(isinstance(value, kinds), key, repr(value), "true or false")
        elif int in kinds:
            require(isinstance(value, (Integral, *kinds)), key, repr(value), "a whole number")


def choice(kind: type[Choice], value: object, key: str) -> Choice:
    """The member of an enum that is given itself or by its name. Raises UsageError that lists the names."""
    if isinstance(value, kind):
        return value
    names = [member.name for member in kind]
    require(value in names, key, value, f"one of {', '.join(names)}")
    return kind[str(value)]


def require(holds: bool, key: str, found: object, allowed: str) -> None:
    """Raise UsageError naming the key, what was found and what is allowed, unless `holds`."""
    if not holds:
        raise UsageError(f"{key}={found} is not possible: it must be {allowed}")


def require_names(names: list[str], key: str) -> None:
    """Raise UsageError for a list of names that is empty or repeats itself."""
    require(bool(names) and len(set(names)) == len(names), key, names, "one name or more, each once")


def configs_dir() -> Path:
    """The YAML tree: inside the package in a wheel, beside it in a checkout."""
    packaged = Path(__file__).resolve().parent / "configs"
    return packaged if packaged.is_dir() else packaged.parent.parent / "configs"
