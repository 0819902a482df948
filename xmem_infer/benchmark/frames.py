"""Time per frame of several variants, interleaved, so that a machine whose speed drifts is fair to all."""

import statistics
from collections.abc import Callable
from dataclasses import dataclass
from time import perf_counter

import torch
from torch import Tensor

from ..config import GradMode, MemoryConfig, Precision
from ..engine.engine import Engine
from ..engine.state import VideoState
from ..runtime.grad_mode import grad_mode
from ..runtime.precision import precision_context


@dataclass(frozen=True)
class Variant:
    """A way to run: engine class over a prepared network (both through `make_engine`), and a precision."""

    name: str
    make_engine: Callable[[MemoryConfig], Engine]
    precision: Precision


def drift(frames: int, height: int, width: int, device: torch.device) -> list[Tensor]:
    """A textured scene that drifts by a few pixels a frame: (3, H, W) normalised."""
    generator = torch.Generator().manual_seed(0)
    coarse = torch.randn(1, 3, height // 8, width // 8, generator=generator)
    scene = torch.nn.functional.interpolate(coarse, (height, width), mode="bilinear")[0].to(device)
    return [scene.roll((t, 2 * t), (1, 2)) for t in range(frames)]


def bands(objects: int, height: int, width: int, device: torch.device) -> Tensor:
    """A label image (H, W) uint8 with one block per object."""
    mask = torch.zeros(height, width, dtype=torch.uint8, device=device)
    side = width // (objects + 1)
    for index in range(objects):
        mask[height // 4 : 3 * height // 4, index * side + side // 4 : index * side + side] = index + 1
    return mask


def median_frame_ms(
    variants: list[Variant], objects: int, height: int, width: int, rounds: int = 3, device: str = "cpu"
) -> dict[str, float]:
    """Milliseconds per frame of each variant with working memory filled, median over `rounds` of one cycle.

    A cycle is five frames, one of them a memory frame.
    """
    where = torch.device(device)
    images = drift(9 + 5 * rounds, height, width, where)
    mask = bands(objects, height, width, where)
    states: dict[str, VideoState] = {}
    for variant in variants:
        filling = variant.make_engine(MemoryConfig(memory_every=1))
        states[variant.name] = state = filling.start()
        with grad_mode(GradMode.set_grad_enabled), precision_context(variant.precision, where):
            for t in range(9):
                filling.step(state, images[t], mask if t == 0 else None)
    times: dict[str, list[float]] = {variant.name: [] for variant in variants}
    for cycle in range(rounds):
        for variant in variants:
            engine, state = variant.make_engine(MemoryConfig(memory_every=5)), states[variant.name]
            started = perf_counter()
            with grad_mode(GradMode.set_grad_enabled), precision_context(variant.precision, where):
                for image in images[9 + 5 * cycle : 14 + 5 * cycle]:
                    engine.step(state, image)
            if where.type == "cuda":
                torch.cuda.synchronize()
            times[variant.name].append((perf_counter() - started) * 1000 / 5)
    return {name: statistics.median(spent) for name, spent in times.items()}
