"""Settings of a training run; `configs/train.yaml` is merged on these."""

import json
from dataclasses import asdict, dataclass, field
from enum import Enum
from typing import Any

from ...config import Device, require
from ...model.sizes import MobileTrunkSizes, NetworkSizes, TrunkSizes, efficientnet_lite


@dataclass
class Stage:
    """A part of the curriculum. It lasts until `until` samples have been seen by the run."""

    until: int
    size: int  # px, side of the square crop
    frames: int  # per sample, the first one given
    batch: int  # samples
    real: float  # share of samples from real clips, the others are pseudo-videos
    two_objects: float = 0.3  # share of batches with two objects
    frozen_norms: bool = False  # batch norm as at inference: small batches of long clips are a poor measure of means

    def __post_init__(self) -> None:
        require(self.size % 16 == 0 and self.size >= 64, "stage.size", self.size, "a multiple of 16, at least 64")
        require(self.frames >= 2, "stage.frames", self.frames, "at least 2")
        require(self.batch >= 1, "stage.batch", self.batch, "at least 1")


class KeyTrunk(str, Enum):
    """What the key encoder is made of."""

    resnet = "resnet"
    lite0 = "lite0"
    lite1 = "lite1"


LITE_BLOCKS = {KeyTrunk.lite0: (2, 2, 3, 3), KeyTrunk.lite1: (3, 3, 4, 4)}  # inverted residuals of stages 2 to 5


@dataclass
class WidthConfig:
    """Widths of the network; the defaults are the embedded model."""

    key_blocks: tuple[int, int, int] = (2, 2, 3)  # residual blocks of the key encoder, by stage
    key_widths: tuple[int, int, int] = (32, 64, 128)  # channels of the key encoder, by stage
    value_blocks: tuple[int, int, int] = (2, 2, 2)  # residual blocks of the value encoder, by stage
    value_widths: tuple[int, int, int] = (16, 32, 96)  # channels of the value encoder, by stage
    key_dim: int = 32  # channels of a key
    value_dim: int = 96  # channels of a value
    hidden_dim: int = 16  # channels of sensory memory
    decoder: tuple[int, int, int] = (128, 64, 32)  # channels of the decoder at strides 16, 8 and 4
    sensory_dim: int = 64  # channels in which the decoder's features are summed for sensory memory
    key_trunk: KeyTrunk = KeyTrunk.resnet  # lite0, lite1: EfficientNet-Lite with ImageNet weights, key_blocks unused

    def sizes(self) -> NetworkSizes:
        widths = _three(self.key_widths)
        key_trunk: TrunkSizes | MobileTrunkSizes = TrunkSizes(False, _three(self.key_blocks), widths)
        if counts := LITE_BLOCKS.get(self.key_trunk):
            key_trunk = MobileTrunkSizes(layers=efficientnet_lite(*counts), channels=widths)
        return NetworkSizes(
            key_trunk=key_trunk,
            value_trunk=TrunkSizes(False, _three(self.value_blocks), _three(self.value_widths)),
            key_dim=self.key_dim,
            value_dim=self.value_dim,
            hidden_dim=self.hidden_dim,
            decoder=_three(self.decoder),
            sensory_dim=self.sensory_dim,
            skip_kernel=1,
        )


@dataclass(kw_only=True)
class OptimConfig:
    cooldown_from: int  # samples; the rate is constant before, then falls to zero at total_samples
    total_samples: int  # the end of the run
    lr: float = 1e-3  # before the cooldown
    trunk_lr: float = 1.0  # of the key encoder's trunk, as a share of lr
    weight_decay: float = 0.03  # of AdamW
    warmup: int = 2_000  # samples in which the rate rises
    clip: float = 3.0  # largest norm of the gradient
    ema: float = 0.997  # share of the averaged weights kept per step

    def __post_init__(self) -> None:
        require(
            self.cooldown_from <= self.total_samples,
            "optim.cooldown_from", self.cooldown_from, f"at most optim.total_samples ({self.total_samples})",
        )  # fmt: skip


@dataclass
class LossConfig:
    dice: float = 1.0  # weight of the dice loss beside cross entropy
    key: float = 0.5  # first mask read through the affinity at stride 16
    hard_share: float = 0.25  # share of pixels that cross entropy ends up looking at
    hard_after: int = 20_000  # samples until that share is reached, from all pixels


@dataclass(kw_only=True)
class TrainConfig:
    data_packs: list[str] = field(default_factory=list)  # what to learn from: train_240p.tar, train_480p.tar
    cache_dir: str | None = None  # decoded pack, 0.7 GB; null = beside the run
    run_dir: str | None = None  # checkpoints, records and curves; an interrupted run there goes on
    validation: str | None = None  # DAVIS-2016 layout; null = train without scores
    export: str | None = None  # where the best weights so far go (.safetensors)
    seed: int = 0  # of first weights and samples
    device: Device = Device.auto  # auto: CUDA, MPS, else the CPU
    bf16: bool = True  # autocast of the network
    threads: int | None = None  # CPU threads of torch; null: torch's choice
    workers: int = 1  # processes that make samples
    top_k: int = 30  # tokens read per query
    checkpoint_minutes: float = 2.0  # between checkpoints
    validate_minutes: float = 12.0  # between validations
    validation_size: int = 240  # px of the short side
    validation_frames: int = 40  # per clip
    validation_clips: list[str] | None = None  # by name; null = all
    max_steps: int | None = None  # stop after so many steps of this slice
    start: str | None = None  # weights that a fresh run begins with, where names and shapes agree
    frozen: list[str] = field(default_factory=list)  # parameters that stay, by the beginning of their names
    network: WidthConfig = field(default_factory=WidthConfig)
    loss: LossConfig = field(default_factory=LossConfig)
    optim: OptimConfig  # how long, and in which stages: configs/train.yaml
    stages: list[Stage]  # the curriculum: each lasts until so many samples were seen

    def __post_init__(self) -> None:
        require(self.seed >= 0, "seed", self.seed, "0 or more")
        require(self.threads is None or self.threads >= 1, "threads", self.threads, "null or at least 1")
        require(self.workers >= 0, "workers", self.workers, "0 or more")
        require(len(self.stages) > 0, "stages", [], "a list with at least one entry")
        require(
            self.export is None or self.validation is not None,
            "export", self.export, "null without validation=<clips>: the weights that score best are exported",
        )  # fmt: skip


def learning_settings(config: TrainConfig) -> dict[str, Any]:
    """What decides what is learnt, as JSON has it: no paths, nothing that goes by the clock."""
    settings = {
        name: asdict(config)[name] for name in ("seed", "bf16", "top_k", "frozen", "network", "loss", "optim", "stages")
    }
    return json.loads(json.dumps(settings))


def _three(values: tuple[int, int, int] | list[int]) -> tuple[int, int, int]:
    first, second, third = values  # a list where it comes from YAML
    return first, second, third
