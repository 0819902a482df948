"""Which combinations an ablation measures, in which order, and the setup that all its runs share."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path

from ...config import Device, GradMode, Precision
from ...io.listing import counted
from .clip import Clip
from .config import AblateConfig, MatrixConfig


@dataclass(frozen=True)
class Scene:
    """What is segmented: short side in px (-1 = original size), number of objects, number of frames."""

    size: int
    objects: int
    frames: int

    def __str__(self) -> str:
        size = "original size" if self.size == -1 else f"{self.size}p"
        return f"{size}, {counted(self.objects, 'object')}, {self.frames} frames"


Condition = tuple[Scene, Precision]  # what stays the same while grad modes are compared


@dataclass(frozen=True)
class Combination:
    """One cell of the matrix."""

    scene: Scene
    precision: Precision
    mode: GradMode

    @property
    def condition(self) -> Condition:
        return self.scene, self.precision

    def __str__(self) -> str:
        return f"{self.mode.name}, {self.precision.name}, {self.scene}"


def combinations(matrix: MatrixConfig, precisions: Sequence[Precision]) -> list[Combination]:
    """Return every combination once. Modes vary fastest, so that runs to be compared are close together in time."""
    scenes = [Scene(*sizes) for sizes in product(matrix.sizes, matrix.objects, matrix.frames)]
    return list(dict.fromkeys(Combination(*parts) for parts in product(scenes, precisions, matrix.grad_modes)))


@dataclass(frozen=True)
class Setup:
    """What all runs of a sweep have in common.

    timed: whether to measure times and resident memory. On the CPU, tensor memory is then counted in a second pass, so
    that counting does not slow down the timed one.
    """

    config: AblateConfig
    clip: Clip
    weights: Path
    device: Device
    timed: bool = True

    @property
    def ceiling_bytes(self) -> int:
        return int(self.config.ablate.max_memory_gb * 1e9)
