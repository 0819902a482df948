"""The passes of a run over a video, the state before its first frame, and tracking from references in any direction."""

import logging
from collections.abc import Generator, Sequence
from contextlib import closing
from dataclasses import replace
from math import ceil

import numpy as np
import torch

from ..config import Direction, EvalConfig
from ..datasets.layouts import DAVIS_SIZE
from ..datasets.video_input import VideoInput
from ..engine.state import Absences, VideoState
from ..io.frames import frame_name
from ..ops.images import STRIDE, working_size
from ..predictor import Segmenter
from ..propagation.memory_files import load_memory, save_memory
from ..propagation.propagate import propagate, remember
from ..propagation.result_buffer import ResultBuffer
from ..results import FrameResult, Pass
from ..runtime.limits import free_bytes, memory_bytes
from ..types import LabelMask
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


def initial_state(segmenter: Segmenter, video: VideoInput) -> VideoState:
    """Return the state before the first frame: empty, or loaded from memory.load. Raises UsageError."""
    options = segmenter.engine.config
    if options.load is None:
        return segmenter.start()
    return load_memory(options.load, segmenter, video.frames.size, options.frozen)


def save_video_memory(segmenter: Segmenter, video: VideoInput, state: VideoState | None) -> None:
    """Save the memory of `state` to memory.save if that is set; if `state` is None, the memory of the references."""
    if (path := segmenter.engine.config.save) is not None:
        save_memory(path, segmenter, state or remember(segmenter, video.frames, *_references(video)))


def _references(video: VideoInput) -> tuple[dict[int, LabelMask], Absences]:
    """Return the given masks by frame index, and the frames in which objects are absent.

    These are the frames that the video lists, and complete references without the object.
    """
    indices = {frame_name(video.frames, index): index for index in range(len(video.frames))}
    references, absent = {}, {object_id: list(video.absent.get(object_id, ())) for object_id in video.object_ids}
    for name, mask in video.masks.items():
        index = indices[name]
        references[index] = mask
        if name in video.complete:
            for object_id in video.object_ids.difference(mask.object_ids()):
                absent[object_id].append((index, index))
    return references, absent


def track_video(segmenter: Segmenter, video: VideoInput, direction: Direction) -> Generator[FrameResult, None, None]:
    """Yield the result of every frame in order; frames that no reference reaches have no objects.

    Results that are computed out of order are buffered on disk.
    """
    (references, absent), count = _references(video), len(video.frames)
    start = min(references) if direction is Direction.forward else 0
    stop = max(references) + 1 if direction is Direction.backward else count
    computed = propagate(segmenter, video.frames, references, direction=direction, absent=absent)
    with closing(ResultBuffer()) as buffer:
        for index in range(count):
            if not start <= index < stop:
                no_objects = np.zeros(video.frames.size, np.uint8)
                yield FrameResult(video.frames[index], no_objects, (), {}, {}, torch.ones(1, 1, 1))
                continue
            while index not in buffer:
                result = next(computed)
                if result.frame.index == index:
                    yield result
                    break
                buffer.put(result)
            else:
                yield replace(buffer.take(index), frame=video.frames[index])
