"""One variant on one workload: its memory filled once, measured again and again from the same state."""

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from time import perf_counter
from typing import Any

import torch
from torch import Tensor

from ...config import GradMode, MemoryConfig
from ...engine.state import VideoState
from ...ops.images import normalise
from ...runtime.grad_mode import grad_mode
from ...runtime.stage_clock import StageClock
from .flops import FlopMeter
from .memory_fill import fill_memory
from .scene import block_mask, drifting_frames
from .stages import FRAME_STAGES, MEMORY_WRITE, REST, Observer, Stages, observed_engine, unobserved
from .variants import Variant
from .workloads import FULL_MEMORY_FRAMES, Workload

# One frame in five is a memory frame, and every fifth of those consolidates working memory, as published.
MEMORY_EVERY, CONSOLIDATE_EVERY = 5, 25
FRAME = "frame"


@dataclass(frozen=True)
class RoundTimes:
    """One round of one variant, in milliseconds.

    Attributes:
        ordinary: Of an ordinary frame, by stage, and of the whole (`FRAME`).
        memory: Of a memory frame, likewise.
        consolidation_ms: By how much a memory write that consolidates is longer than one that does not; 0 where the
            workload's memory is not full.
    """

    ordinary: dict[str, float]
    memory: dict[str, float]
    consolidation_ms: float

    def stage_ms(self, stage: str) -> float:
        """What a stage (or `FRAME`, all of them) adds to a frame on average over 25 frames of a long video."""
        mean = mean_of_frames(self.ordinary.get(stage, 0.0), self.memory.get(stage, 0.0))
        return mean + (self.consolidation_ms / CONSOLIDATE_EVERY if stage in (FRAME, MEMORY_WRITE) else 0.0)


def mean_of_frames(ordinary: float, memory: float) -> float:
    """Mean over five frames, four of them ordinary and one a memory frame."""
    return ((MEMORY_EVERY - 1) * ordinary + memory) / MEMORY_EVERY


class WorkloadRunner:
    """Holds the state of a video with memory as the workload says; measuring never changes it.

    Every measurement runs on a copy of that state, so that memory has the same size in every round. The state is that
    after one ordinary frame, which has counted usage and left behind what a memory keeps from reading to reading. With
    a memory frame every third frame, the copy's next frame is ordinary and the one after it a memory frame.
    """

    def __init__(self, variant: Variant, workload: Workload, max_working_frames: int = FULL_MEMORY_FRAMES + 2):
        """max_working_frames: one more than memory holds when full, so that the memory frame does not consolidate."""
        self.variant, self.workload = variant, workload
        device = variant.prepared.device
        images = [normalise(torch.from_numpy(pixels).to(device)) for pixels in drifting_frames(workload, 4)]
        self.ordinary_image, self.memory_image = images[2:]
        self.config = MemoryConfig(memory_every=3, max_working_frames=max_working_frames)
        self.stages = Stages()
        self.engine = observed_engine(variant, self.config, self.stages)
        with self._running():
            self.state = self.engine.start()
            self.engine.step(self.state, images[0], torch.from_numpy(block_mask(workload)).to(device))
            assert self.stages.remembered is not None, "the first frame is remembered"
            fill_memory(self.state, self.stages.remembered, workload)
            self.engine.step(self.state, images[1])

    def run_round(self) -> RoundTimes:
        """Measure an ordinary frame, a memory frame and a consolidation."""
        with self._running():
            state = copy.deepcopy(self.state)
            ordinary = self._timed_frame(state, self.ordinary_image)
            memory = self._timed_frame(state, self.memory_image)
            return RoundTimes(ordinary, memory, self._consolidation_ms(memory[MEMORY_WRITE]))

    def flops(self) -> dict[str, float]:
        """Floating point operations of convolutions and matrix products by stage, mean over frames as in a round."""
        with self._running():
            state = copy.deepcopy(self.state)
            counted = []
            for image in (self.ordinary_image, self.memory_image):
                with FlopMeter() as meter, self._observed(meter):
                    self.engine.step(state, image)
                counted.append(meter.stages)
        ordinary, memory = counted
        return {stage: mean_of_frames(ordinary.get(stage, 0), memory.get(stage, 0)) for stage in FRAME_STAGES}

    def run_once(self) -> None:
        """An ordinary frame and a memory frame, on the state itself: the runner is of no use afterwards."""
        with self._running():
            for image in (self.ordinary_image, self.memory_image):
                self.engine.step(self.state, image)

    def _timed_frame(self, state: VideoState, image: Tensor) -> dict[str, float]:
        spent: dict[str, float] = {}
        with self._observed(StageClock(self.variant.prepared.device, spent)):
            started = perf_counter()
            self.engine.step(state, image)
            total = (perf_counter() - started) * 1000
        return {**spent, REST: total - sum(spent.values()), FRAME: total}

    def _consolidation_ms(self, plain_write_ms: float) -> float:
        if self.workload.memory_frames < FULL_MEMORY_FRAMES or self.stages.remembered is None:
            return 0.0
        memory: Any = copy.deepcopy(self.state.memory)
        memory.config = replace(self.config, max_working_frames=FULL_MEMORY_FRAMES + 1)
        frame, value = self.stages.remembered
        started = perf_counter()
        memory.add(frame, value)
        spent = (perf_counter() - started) * 1000
        if memory.working_tokens >= FULL_MEMORY_FRAMES * memory.frame_tokens:
            raise RuntimeError(f"{self.variant.name}: the tenth memory frame did not consolidate working memory")
        return max(0.0, spent - plain_write_ms)

    @contextmanager
    def _running(self) -> Iterator[None]:
        with grad_mode(GradMode.set_grad_enabled), self.variant.prepared.context():
            yield

    @contextmanager
    def _observed(self, observer: Observer) -> Iterator[None]:
        self.stages.observer = observer
        try:
            yield
        finally:
            self.stages.observer = unobserved
