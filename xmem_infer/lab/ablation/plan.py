"""The combinations of an ablation, checked before any work, and the order they are measured in."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

import torch

from ...config import GradMode, Precision
from ...errors import UsageError
from ...runtime.precision import check_precision
from .clip import Clip, with_objects
from .config import MatrixConfig

GRADIENTS_OFF = tuple(mode for mode in GradMode if not mode.records)


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


def precisions_for(wanted: Sequence[Precision] | None, device: torch.device) -> list[Precision]:
    """The precisions to measure: those asked for, each refused where the device lacks it, else all it computes in."""
    if device.type not in ("cpu", "cuda"):
        raise UsageError(f"runtime.device={device.type}: memory is measured on cpu and cuda only; choose one of them")
    if wanted is not None:
        for precision in wanted:
            check_precision(precision, device)
        return list(wanted)
    if device.type == "cuda":
        return [precision for precision in Precision if precision is not Precision.auto and _has(precision, device)]
    return [Precision.fp32, Precision.bf16]


def check_scenes(matrix: MatrixConfig, clip: Clip) -> None:
    """Raise UsageError for more frames than the clip has, or more objects than its mask can be cut into."""
    if clip.count is not None and max(matrix.frames) > clip.count:
        raise UsageError(f"ablate.frames={max(matrix.frames)}: {clip.name} has {clip.count} frames")
    for objects in matrix.objects:
        with_objects(clip.first, objects)


def _has(precision: Precision, device: torch.device) -> bool:
    try:
        check_precision(precision, device)
    except UsageError:
        return False
    return precision is not Precision.bf16 or torch.cuda.get_device_capability(device) >= (8, 0)
