"""Settings of a training run, merged with `configs/train.yaml`."""

import json
from dataclasses import asdict, dataclass, field
from enum import Enum
from typing import Any

from ...config import Device, require
from ...model.sizes import MobileTrunkSizes, NetworkSizes, TrunkSizes, efficientnet_lite


@dataclass
class Stage:
    """A part of the curriculum. It ends when the run has seen `until` samples."""

    until: int
    size: int  # px, side of the square crop
    frames: int  # per sample; the mask of the first one is given
    batch: int  # samples
    real: float  # share of samples from real clips; the others are synthetic
    two_objects: float = 0.3  # share of batches with two objects
    frozen_norms: bool = False  # batch norm as at inference: small batches of long clips estimate its means poorly

    def __post_init__(self) -> None:
        require(self.size % 16 == 0 and self.size >= 64, "stage.size", self.size, "a multiple of 16, at least 64")
        require(self.frames >= 2, "stage.frames", self.frames, "at least 2")
        require(self.batch >= 1, "stage.batch", self.batch, "at least 1")


class KeyTrunk(str, Enum):
    resnet = "resnet"
    lite0 = "lite0"
    lite1 = "lite1"


LITE_BLOCKS = {KeyTrunk.lite0: (2, 2, 3, 3), KeyTrunk.lite1: (3, 3, 4, 4)}  # inverted residuals of stages 2 to 5


@dataclass
class WidthConfig:
    """Widths of the network; the defaults are those of the embedded model."""

    key_blocks: tuple[int, int, int] = (2, 2, 3)  # residual blocks of the key encoder, by stage
    key_widths: tuple[int, int, int] = (32, 64, 128)  # channels of the key encoder, by stage
    value_blocks: tuple[int, int, int] = (2, 2, 2)  # residual blocks of the value encoder, by stage
    value_widths: tuple[int, int, int] = (16, 32, 96)  # channels of the value encoder, by stage
    key_dim: int = 32  # channels of a key
    value_dim: int = 96  # channels of a value
    hidden_dim: int = 16  # channels of sensory memory
    decoder: tuple[int, int, int] = (128, 64, 32)  # channels of the decoder at strides 16, 8 and 4
    sensory_dim: int = 64  # channels of the sum of the decoder's features from which sensory memory is updated
    key_trunk: KeyTrunk = KeyTrunk.resnet  # lite0, lite1: EfficientNet-Lite with ImageNet weights, key_blocks unused

    def sizes(self) -> NetworkSizes:
        # Tuples are built anew, because YAML gives lists.
        key_trunk: TrunkSizes | MobileTrunkSizes = TrunkSizes(False, (*self.key_blocks,), (*self.key_widths,))
        if counts := LITE_BLOCKS.get(self.key_trunk):
            key_trunk = MobileTrunkSizes(layers=efficientnet_lite(*counts), channels=(*self.key_widths,))
        return NetworkSizes(
            key_trunk=key_trunk,
            value_trunk=TrunkSizes(False, (*self.value_blocks,), (*self.value_widths,)),
            key_dim=self.key_dim,
            value_dim=self.value_dim,
            hidden_dim=self.hidden_dim,
            decoder=(*self.decoder,),
            sensory_dim=self.sensory_dim,
            skip_kernel=1,
        )


@dataclass(kw_only=True)
class OptimConfig:
    cooldown_from: int  # in samples; the learning rate is constant until then, and falls to zero at total_samples
    total_samples: int  # at which the run ends
    lr: float = 1e-3  # learning rate before the cooldown
    trunk_lr: float = 1.0  # learning rate of the key encoder's trunk, as a share of lr
    weight_decay: float = 0.03  # of AdamW
    warmup: int = 2_000  # in samples; the learning rate rises until then
    clip: float = 3.0  # maximum norm of the gradient
    ema: float = 0.997  # decay of the moving average of the weights, per step

    def __post_init__(self) -> None:
        require(
            self.cooldown_from <= self.total_samples,
            "optim.cooldown_from", self.cooldown_from, f"at most optim.total_samples ({self.total_samples})",
        )  # fmt: skip


@dataclass
class LossConfig:
    dice: float = 1.0  # weight of the dice loss relative to cross entropy
    key: float = 0.5  # weight of the loss on the first mask read through the affinity at stride 16
    hard_share: float = 0.25  # share of pixels, the worst ones, that cross entropy finally averages over
    hard_after: int = 20_000  # in samples; until then the share falls from 1 to hard_share


@dataclass(kw_only=True)
class TrainConfig:
    data_packs: list[str] = field(default_factory=list)  # training data: train_240p.tar, train_480p.tar
    cache_dir: str | None = None  # for decoded packs, 0.7 GB; null: inside run_dir
    run_dir: str | None = None  # for checkpoints, records and curves; an interrupted run in it is resumed
    validation: str | None = None  # clips in DAVIS-2016 layout; null: train without validation
    export: str | None = None  # file for the best weights so far (.safetensors)
    seed: int = 0  # of initial weights and samples
    device: Device = Device.auto  # auto: CUDA, else MPS, else the CPU
    bf16: bool = True  # autocast of the network
    threads: int | None = None  # CPU threads of torch; null: torch's choice
    workers: int = 1  # processes that generate samples
    top_k: int = 30  # number of tokens read per query
    checkpoint_minutes: float = 2.0  # between checkpoints
    validate_minutes: float = 12.0  # between validations
    validation_size: int = 240  # px of the short side
    validation_frames: int = 40  # per clip
    validation_clips: list[str] | None = None  # by name; null: all
    max_steps: int | None = None  # after which this session stops; null: no limit
    start: str | None = None  # file of weights for a new run, used if names and shapes agree
    frozen: list[str] = field(default_factory=list)  # parameters not trained, by the beginning of their names
    network: WidthConfig = field(default_factory=WidthConfig)
    loss: LossConfig = field(default_factory=LossConfig)
    optim: OptimConfig  # see configs/train.yaml
    stages: list[Stage]  # the curriculum; each stage ends at its number of samples

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
    """Return the settings that determine the result, as JSON values: without paths and times."""
    names = ("seed", "bf16", "top_k", "frozen", "network", "loss", "optim", "stages")
    return json.loads(json.dumps({name: asdict(config)[name] for name in names}))
