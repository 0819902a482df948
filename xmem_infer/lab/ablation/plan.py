"""What an ablation combines with what, in which order, and what all its runs have in common."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path

from ...config import Device, GradMode, Precision
from .clip import Clip
from .config import AblateConfig, MatrixConfig


@dataclass(frozen=True)
class Scene:
    """What is segmented: short side in px (-1 = original), number of objects, frames."""

    size: int
    objects: int
    frames: int

    def __str__(self) -> str:
        size = "original size" if self.size == -1 else f"{self.size}p"
        return f"{size}, {self.objects} object{'s' if self.objects > 1 else ''}, {self.frames} frames"


Place = tuple[Scene, Precision]  # where grad modes are compared


@dataclass(frozen=True)
class Combination:
    """One cell of the matrix."""

    scene: Scene
    precision: Precision
    grad_mode: GradMode

    def __str__(self) -> str:
        return f"{self.grad_mode.name}, {self.precision.name}, {self.scene}"


def combinations(matrix: MatrixConfig, precisions: Sequence[Precision]) -> list[Combination]:
    """Every combination once, modes varying fastest, so that what is compared is measured close together."""
    scenes = [Scene(*sizes) for sizes in product(matrix.sizes, matrix.objects, matrix.frames)]
    return list(dict.fromkeys(Combination(*parts) for parts in product(scenes, precisions, matrix.grad_modes)))


def interleaved(found: Sequence[Combination], repeats: int) -> list[tuple[Combination, int]]:
    """Each combination once per round, every other round backwards: a machine that slows down favours nobody."""
    rounds = [found if repeat % 2 == 0 else found[::-1] for repeat in range(repeats)]
    return [(combination, repeat) for repeat, one_round in enumerate(rounds) for combination in one_round]


@dataclass(frozen=True)
class Setup:
    """What all runs of a sweep have in common.

    timed: take times and resident memory; on the CPU tensor memory is then counted in a second pass, so that counting
    slows down no clock.
    """

    config: AblateConfig
    clip: Clip
    weights: Path
    device: Device
    timed: bool = True

    @property
    def ceiling_bytes(self) -> int:
        return int(self.config.ablate.max_memory_gb * 1e9)
