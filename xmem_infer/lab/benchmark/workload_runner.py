"""Run one variant on one workload: memory is filled once, then every round starts from the same state."""

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from time import perf_counter
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor

from ...config import GradMode, MemoryConfig
from ...engine.state import VideoState
from ...ops.images import normalise
from ...runtime.contexts import grad_mode, timed
from .scene import block_mask, drifting_frames
from .stages import FRAME_STAGES, MEMORY_WRITE, REST, FlopMeter, ObservedEngine
from .variants import CPU, Variant
from .workloads import FULL_MEMORY_FRAMES, Workload

# As published: every fifth frame is a memory frame, and every fifth memory frame consolidates working memory.
MEMORY_EVERY, CONSOLIDATE_EVERY = 5, 25
CONSOLIDATIONS_TO_FILL = 8  # how many consolidations fill long-term memory
FRAME = "frame"

ByStage = dict[str, float]


def average_frame(ordinary: ByStage, memory: ByStage, consolidation: float = 0.0) -> ByStage:
    """Return the average cost of a frame of a long video, by stage and as a whole (`FRAME`).

    The costs are those of an ordinary frame, of a memory frame, and what consolidation adds to a memory write.
    """
    share = 1 / MEMORY_EVERY
    mean = {s: (1 - share) * ordinary.get(s, 0.0) + share * memory.get(s, 0.0) for s in (*FRAME_STAGES, FRAME)}
    for stage in (FRAME, MEMORY_WRITE):
        mean[stage] += consolidation / CONSOLIDATE_EVERY
    return mean


class WorkloadRunner:
    """The state of a video with memory filled as the workload says. Each measurement works on a copy of that state.

    The state is taken after one ordinary frame, so that usage has been counted and all that memory caches between reads
    exists. With a memory frame every third frame, the next frame is ordinary and the one after it a memory frame.
    """

    def __init__(self, variant: Variant, workload: Workload, max_working_frames: int = FULL_MEMORY_FRAMES + 2):
        """max_working_frames: one more than full memory holds, so that the memory frame does not consolidate."""
        self.variant, self.workload = variant, workload
        images = [normalise(torch.from_numpy(pixels)) for pixels in drifting_frames(workload, 4)]
        self.images = images[2:]
        self.config = MemoryConfig(memory_every=3, max_working_frames=max_working_frames)
        self.engine = ObservedEngine(variant, self.config)
        with self._grad_mode_and_precision():
            self.state = self.engine.start()
            self.engine.step(self.state, images[0], torch.from_numpy(block_mask(workload)))
            fill_memory(self.state.memory, self.engine.remembered, workload)
            self.engine.step(self.state, images[1])

    def run_round(self) -> tuple[ByStage, ByStage, float]:
        """Return milliseconds by stage of an ordinary and of a memory frame, and what consolidation adds to a write."""
        with self._grad_mode_and_precision():
            state = copy.deepcopy(self.state)
            ordinary, memory = (self._timed_frame(state, image) for image in self.images)
            return ordinary, memory, self._consolidation_ms(memory[MEMORY_WRITE])

    def flops(self) -> ByStage:
        """Return the floating point operations of convolutions and matrix products of an average frame, by stage."""
        counted: list[ByStage] = []
        with self._grad_mode_and_precision():
            state = copy.deepcopy(self.state)
            for image in self.images:
                with FlopMeter() as meter:
                    self.engine.observer = meter
                    self.engine.step(state, image)
                counted.append({**meter.stages, FRAME: sum(meter.stages.values())})
        ordinary, memory = counted
        return average_frame(ordinary, memory)

    def run_once(self) -> None:
        """Run an ordinary and a memory frame on the state itself. The runner cannot be used afterwards."""
        with self._grad_mode_and_precision():
            for image in self.images:
                self.engine.step(self.state, image)

    def _timed_frame(self, state: VideoState, image: Tensor) -> ByStage:
        spent: ByStage = {}
        self.engine.observer = partial(timed, device=CPU, stage_ms=spent)
        started = perf_counter()
        self.engine.step(state, image)
        total = (perf_counter() - started) * 1000
        return {**spent, REST: total - sum(spent.values()), FRAME: total}

    def _consolidation_ms(self, plain_write_ms: float) -> float:
        memory: Any = copy.deepcopy(self.state.memory)
        memory.config = replace(self.config, max_working_frames=FULL_MEMORY_FRAMES + 1)
        started = perf_counter()
        memory.add(*self.engine.remembered)
        spent = (perf_counter() - started) * 1000
        assert memory.working_tokens < FULL_MEMORY_FRAMES * memory.frame_tokens, "the tenth memory frame consolidates"
        return max(0.0, spent - plain_write_ms)

    @contextmanager
    def _grad_mode_and_precision(self) -> Iterator[None]:
        with grad_mode(GradMode.set_grad_enabled), self.variant.prepared.context():
            yield


def fill_memory(memory: Any, frame: tuple[Any, Tensor], workload: Workload) -> None:
    """Add shifted, slightly noisy copies of a stored frame until memory holds what the workload says.

    Long-term memory is filled by a few consolidations with many prototypes each, which takes 40 frames instead of 400.
    Which tokens are kept does not matter for the time that a read takes.
    """
    config, generator = memory.config, torch.Generator().manual_seed(0)
    if workload.long_term:
        candidates = (FULL_MEMORY_FRAMES + 1 - config.min_working_frames) * memory.frame_tokens
        count = min(config.max_long_term_tokens // CONSOLIDATIONS_TO_FILL, candidates)
        memory.config = replace(
            config, num_prototypes=count, max_working_frames=FULL_MEMORY_FRAMES + 1, buffer_tokens=0
        )
        while memory.long_term_tokens + count <= config.max_long_term_tokens:
            memory.add(*_drifted(*frame, generator))
        memory.config = config
    while memory.working_tokens < FULL_MEMORY_FRAMES * memory.frame_tokens:
        memory.add(*_drifted(*frame, generator))
    assert memory.working_tokens == FULL_MEMORY_FRAMES * memory.frame_tokens, "it was not consolidated on the way"


def _drifted(features: Any, value: Tensor, generator: torch.Generator) -> tuple[Any, Tensor]:
    """Return another frame of the same scene, shifted by a few tokens, with 5% of noise on keys and values."""
    by = int(torch.randint(1, 8, (1,), generator=generator))

    def moved(x: Tensor, noise: float) -> Tensor:
        factor = 1 + noise * torch.randn(x.shape, generator=generator)
        return x.roll((by // 3, by), (-2, -1)) * factor.to(x)

    keys = {"key": moved(features.key, 0.05), "shrinkage": moved(features.shrinkage, 0.0)}
    return SimpleNamespace(**keys, selection=moved(features.selection, 0.0)), moved(value, 0.05)
