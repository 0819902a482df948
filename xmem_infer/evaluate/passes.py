"""The passes of a run over a video, and a warning if their memory may exceed that of the device."""

import logging
from collections.abc import Sequence
from math import ceil

from ..config import EvalConfig
from ..datasets.layouts import DAVIS_SIZE
from ..datasets.video_input import VideoInput
from ..ops.images import STRIDE, working_size
from ..predictor import Segmenter
from ..results import Pass
from ..runtime.limits import free_bytes, memory_bytes
from .jobs import working_sizes

log = logging.getLogger(__name__)


def passes_of(video: VideoInput, config: EvalConfig) -> list[Pass]:
    """Return the passes of a run over a video, unflipped ones first; without test-time augmentation there is one."""
    passes = []
    for flipped in [False, True] if config.tta.flip else [config.tta.only_flipped]:
        for size in working_sizes(config):
            view = (video.full_resolution if size != DAVIS_SIZE else None) or video
            passes.append(Pass(view.frames, view.masks, size, flipped))
    return passes


def warn_of_memory(segmenter: Segmenter, video: VideoInput, passes: Sequence[Pass], permanent: int) -> None:
    """Log a warning if the memory of a video with so many permanent frames may exceed the free memory of the device."""
    config = segmenter.engine.config
    sizes = getattr(segmenter.prepared.network, "sizes", None)
    free = free_bytes(segmenter.prepared.device)
    if sizes is None or free is None:
        return
    frames = permanent if config.long_term else (video.frames.count or 0) // config.memory_every
    needed = 0
    for view in passes:
        height, width = working_size(*view.frames.size, view.size, segmenter.engine.conventions.enlarge)
        tokens = ceil(height / STRIDE) * ceil(width / STRIDE)
        needed += memory_bytes(config, tokens, len(video.object_ids), frames, (sizes.key_dim, sizes.value_dim))
    if needed > free:
        log.info(
            f"warning: {video.name}: its memory may take {needed / 2**30:.1f} GiB when full, "
            f"{free / 2**30:.1f} GiB are free. What lowers the need: data.size, memory.max_long_term_tokens and "
            "memory.max_working_frames (smaller), memory.long_term=true, fewer objects"
        )
