"""Data classes of all settings. The YAML files in `configs/` are merged into them; library users create them directly.

The classes are not frozen, because Hydra's group overrides fail on frozen schemas. Choices are enums, because
OmegaConf does not support `Literal`; the member names are the values on the command line. The comment after a setting
is its explanation in `--help`.
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
        """Whether autograd records a graph in this mode."""
        return self in (GradMode.enable_grad, GradMode.enable_grad_detached)


class GivenMasks(Enum):
    first = "first"  # the first mask of each video
    new_objects = "new_objects"  # all masks, but of later ones only objects not seen before
    all = "all"


class SavedFrames(Enum):
    all = "all"
    annotated = "annotated"  # frames with an annotation
    listed = "listed"  # frames for which meta.json lists at least one object


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
    size: int = 480  # short side in px at which the network processes frames; -1: original size
    antialias: bool | None = None  # antialias frames when scaling them down; null: as the network was published
    on_corrupt: OnCorrupt = OnCorrupt.fail  # a frame that cannot be decoded is an error, or is replaced by the last
    masks: MaskPolicy = MaskPolicy.auto  # which of the available masks are used as input
    complete_masks: bool | None = None  # objects missing in a later mask are absent; null: in dataset=generic
    permanent: bool = False  # frames with a given mask stay in memory for the whole video
    max_pixels: int = 100_000_000  # limit of px per frame; larger ones are refused before memory is allocated
    range: list[float] | None = None  # values of 16-bit grey frames that map to 0 and 255; null: from all frames

    def __post_init__(self) -> None:
        read_choices(self, "data")
        require(self.size == -1 or self.size >= 16, "data.size", self.size, "-1 (original) or at least 16")
        require(self.max_pixels >= 1, "data.max_pixels", self.max_pixels, "at least 1")
        is_range = self.range is None or (len(self.range) == 2 and self.range[0] < self.range[1])
        require(is_range, "data.range", self.range, "null or two numbers, the lower one first, such as [300,3300]")


@dataclass
class MemoryConfig:
    kind: str = "auto"  # name of a memory; auto: the one that the network was published with
    memory_every: int = 5  # frames between memory frames (r)
    deep_update_every: int = -1  # frames between deep updates; < 0: on every memory frame
    stagger_updates: int = 5  # how many of memory_every frames update the sensory state (Cutie)
    long_term: bool = True  # consolidate old memory frames; false: keep (XMem) or drop them (Cutie)
    fifo_frames: int = 5  # memory frames kept without long-term memory, including the first (Cutie)
    min_working_frames: int = 5  # T_min: memory frames left after a consolidation
    max_working_frames: int = 10  # T_max: memory frames that trigger a consolidation
    num_prototypes: int = 128  # P: tokens created by a consolidation
    max_long_term_tokens: int = 10_000  # LT_max: maximum number of long-term tokens
    buffer_tokens: int = 2_000  # tokens that a full long-term memory removes beyond those it must (Cutie)
    top_k: int = 30  # tokens read per query
    late_objects: LateObjects = LateObjects.aligned  # how objects of later frames are paired with memory
    load: str | None = None  # file written by memory.save; its objects are tracked in this video without a mask
    save: str | None = None  # file for the memory at the end of the video, or for that of its references
    frozen: bool = False  # add nothing to the loaded memory

    def __post_init__(self) -> None:
        read_choices(self, "memory")
        for name in ("memory_every", "stagger_updates", "fifo_frames", "min_working_frames", "num_prototypes", "top_k"):
            require(getattr(self, name) >= 1, f"memory.{name}", getattr(self, name), "at least 1")
        require(self.deep_update_every != 0, "memory.deep_update_every", 0, "negative or at least 1")
        require(self.buffer_tokens >= 0, "memory.buffer_tokens", self.buffer_tokens, "at least 0")
        for name, lower in (("max_working_frames", "min_working_frames"), ("max_long_term_tokens", "num_prototypes")):
            value, minimum = getattr(self, name), getattr(self, lower)
            require(value > minimum, f"memory.{name}", value, f"more than memory.{lower} ({minimum})")
        for name in ("load", "save"):
            if getattr(self, name):
                setattr(self, name, os.path.expanduser(getattr(self, name)))
        require(not self.frozen or self.load is not None, "memory.frozen", True, "false, without memory.load=FILE")


@dataclass
class RuntimeConfig:
    device: Device = Device.auto  # auto: CUDA, MPS, else the CPU
    grad_mode: GradMode = GradMode.set_grad_enabled  # whether and how autograd is disabled
    precision: Precision = Precision.auto  # precision of the network; auto: depends on what the device computes fast
    variant: str = "auto"  # name of a backend: eager, fast, compiled, openvino; auto: see docs/modes-and-speed.md
    objects_at_once: int = 8  # objects per batch in encoders and decoder; does not change the result
    threads: int | None = None  # CPU threads of torch; null: torch's default

    def __post_init__(self) -> None:
        read_choices(self, "runtime")
        require(self.objects_at_once >= 1, "runtime.objects_at_once", self.objects_at_once, "at least 1")
        require(self.threads is None or self.threads >= 1, "runtime.threads", self.threads, "null or at least 1")


@dataclass
class OutputConfig:
    masks: bool = True  # write a PNG mask for each frame
    overlay: bool = True  # write a video with the masks drawn over the frames
    preview: bool = True  # write a contact sheet of frames
    scores: bool = False  # write probabilities as 8-bit arrays (large)
    also: list[str] = field(default_factory=list)  # names of further registered outputs

    def __post_init__(self) -> None:
        read_choices(self, "output")


@dataclass
class ExecutorConfig:
    kind: str = "auto"  # in_process, processes, ray; auto: in_process for one worker, else processes
    address: str | None = None  # address of a Ray cluster; null: $RAY_ADDRESS, else a local cluster is started

    def __post_init__(self) -> None:
        is_used = self.address is None or self.kind == "ray"
        require(is_used, "executor.address", self.address, "null, unless executor=ray")


@dataclass
class TtaConfig:
    """Test-time augmentation: several passes over each video, whose probabilities are averaged frame by frame."""

    flip: bool = False  # add horizontally flipped passes
    only_flipped: bool = False  # only flipped passes, for merging saved scores
    sizes: list[int] = field(default_factory=list)  # short sides in px, one pass each; empty: data.size

    def __post_init__(self) -> None:
        read_choices(self, "tta")
        require(not (self.flip and self.only_flipped), "tta.only_flipped", True, "false where tta.flip=true")
        for size in self.sizes:
            require(size == -1 or size >= 16, "tta.sizes", self.sizes, "sizes of at least 16, or -1 (original)")
        require(len(set(self.sizes)) == len(self.sizes), "tta.sizes", self.sizes, "sizes that differ")


@dataclass
class DatasetConfig:
    """A benchmark data set: its layout below data_root, the given masks, and what is saved and scored."""

    name: str = "generic"
    title: str = "this data set"  # name in messages
    layout: str = "folders"  # name of a layout: davis, ytvos, folders
    levels: list[str] = field(default_factory=lambda: ["."])  # folders below data_root that may contain the data set
    split: str = ""  # split to use (ytvos layout)
    video_lists: list[str] = field(default_factory=list)  # list files, of which the first existing is read; empty: none
    given: GivenMasks = GivenMasks.first  # masks used as input; data.masks=first|all overrides this
    saved: SavedFrames = SavedFrames.all
    rules: str = "auto"  # scoring rules: davis16 (one object), davis17 (255 is void), auto
    scored: bool = False  # whether the annotations are public, so that results can be scored
    videos: list[int] = field(default_factory=list)  # number of videos in the complete set, one entry per release
    published: dict[str, dict[str, float]] = field(default_factory=dict)  # checkpoint -> score name -> percent
    zip_root: str | None = None  # folder inside the zip for the evaluation server, "" = top; null: no server
    server: str = ""  # URL to which the zip is uploaded

    def __post_init__(self) -> None:
        read_choices(self, "dataset")
        choices = ("auto", "davis16", "davis17")
        require(self.rules in choices, "dataset.rules", self.rules, f"one of {', '.join(choices)}")


@dataclass
class EvalConfig:
    video_dir: str | None = None  # folder of frames, video file, or folder with JPEGImages/ and Annotations/
    mask: str | None = None  # image (first frame) or folder of masks named after frames; null: found next to the video
    references: str | None = None  # folder of masks named after frames, all in memory from the start
    direction: Direction = Direction.forward  # direction of tracking, starting at the references
    dataset: DatasetConfig | None = None  # name of a benchmark; its settings can be overridden: dataset.rules=davis17
    data_root: str | None = None  # folder that contains dataset=NAME
    score: bool = True  # compute J&F if annotations are available
    metrics: list[str] = field(default_factory=lambda: ["J", "F"])  # names of metrics; J&F is their mean
    output_dir: str | None = None  # folder for results; null: output/<name of video_dir or data set>
    weights: str = "auto"  # path, or name of a published checkpoint
    network: str = "auto"  # family of the checkpoint; auto: detected from its entries
    overwrite: bool = False  # replace results of other settings or inputs in output_dir
    workers: int = 1  # processes, each with its own network; executor=ray: on the machines of a Ray cluster
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
    """Replace the names of enum members in a settings object by the members, and check ints and bools, in place.

    Library users may set choices by name, and without Hydra nothing else checks the types. Raises UsageError for an
    unknown name and for a value of the wrong type; group: prefix of the keys in its message.
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
    """Return the member of an enum given as member or by name. Raises UsageError with all names if there is none."""
    if isinstance(value, kind):
        return value
    names = [member.name for member in kind]
    require(value in names, key, value, f"one of {', '.join(names)}")
    return kind[str(value)]


def require(holds: bool, key: str, found: object, allowed: str) -> None:
    """Raise UsageError with the key, the value found and the allowed values, unless `holds` is True."""
    if not holds:
        raise UsageError(f"{key}={found} is not possible: it must be {allowed}")


def require_names(names: list[str], key: str) -> None:
    """Raise UsageError if a list of names is empty or contains duplicates."""
    require(bool(names) and len(set(names)) == len(names), key, names, "one name or more, each once")


def configs_dir() -> Path:
    """Return the folder of YAML files: inside the package in a wheel, next to it in a checkout."""
    packaged = Path(__file__).resolve().parent / "configs"
    return packaged if packaged.is_dir() else packaged.parent.parent / "configs"
