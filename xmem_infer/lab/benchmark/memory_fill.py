"""Memory filled as far as a workload says, from one remembered frame, through the memory's own verb."""

from dataclasses import replace
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ...engine.state import VideoState
from ...model.family import Features
from .workloads import FULL_MEMORY_FRAMES, Workload

CONSOLIDATIONS = 8  # that fill long-term memory


class Keys(NamedTuple):
    """The part of a frame's features that a memory reads."""

    key: Tensor
    shrinkage: Tensor
    selection: Tensor


def fill_memory(state: VideoState, frame: tuple[Features, Tensor], workload: Workload) -> None:
    """Add drifted, slightly noisy copies of a remembered frame until memory holds what the workload says.

    Long-term memory is filled by consolidations of many prototypes, so that it takes 40 frames instead of 400; which
    tokens they keep does not matter for the time that reading takes. The memory's settings are its own again
    afterwards.
    """
    memory: Any = state.memory  # both formulations have `config` and `frame_tokens`
    config, generator = memory.config, torch.Generator().manual_seed(0)
    if workload.long_term:
        candidates = (FULL_MEMORY_FRAMES + 1 - config.min_working_frames) * memory.frame_tokens
        count = min(config.max_long_term_tokens // CONSOLIDATIONS, candidates)
        memory.config = replace(config, num_prototypes=count, max_working_frames=FULL_MEMORY_FRAMES + 1)
        while memory.long_term_tokens + count <= config.max_long_term_tokens:
            memory.add(*_drifted(frame, generator))
        memory.config = config
    while memory.working_tokens < workload.memory_frames * memory.frame_tokens:
        memory.add(*_drifted(frame, generator))
    if memory.working_tokens != workload.memory_frames * memory.frame_tokens:
        raise RuntimeError(
            f"{workload.name}: working memory holds {memory.working_tokens} tokens, "
            f"not {workload.memory_frames} frames of {memory.frame_tokens}"
        )


def _drifted(frame: tuple[Features, Tensor], generator: torch.Generator) -> tuple[Keys, Tensor]:
    """Another frame of the same scene: everything moved by some tokens, keys and values with 5% of noise."""
    features, value = frame
    by = int(torch.randint(1, 8, (1,), generator=generator))

    def moved(x: Tensor, noise: float) -> Tensor:
        factor = 1 + noise * torch.randn(x.shape, generator=generator)
        return x.roll((by // 3, by), (-2, -1)) * factor.to(x)

    keys = Keys(moved(features.key, 0.05), moved(features.shrinkage, 0.0), moved(features.selection, 0.0))
    return keys, moved(value, 0.05)
