"""Tracking a video of a run from its references, in any direction, with results in frame order."""

from collections.abc import Generator, Mapping
from contextlib import closing
from dataclasses import replace

import numpy as np
import torch

from ..config import Direction
from ..datasets.video_input import VideoInput
from ..engine.state import Absences, VideoState
from ..io.frames import frame_name
from ..predictor import Segmenter
from ..propagation.memory_files import load_memory, save_memory
from ..propagation.propagate import propagate, remember
from ..propagation.result_buffer import ResultBuffer
from ..results import FrameResult
from ..types import LabelMask


def initial_state(segmenter: Segmenter, video: VideoInput) -> VideoState:
    """Return the state before the first frame: empty, or loaded from memory.load. Raises UsageError."""
    options = segmenter.engine.config
    if options.load is None:
        return segmenter.start()
    return load_memory(options.load, segmenter, video.frames.size, options.frozen)


def save_video_memory(segmenter: Segmenter, video: VideoInput, state: VideoState | None) -> None:
    """Save the memory of `state` to memory.save if that is set; if `state` is None, the memory of the references."""
    if (path := segmenter.engine.config.save) is not None:
        references = references_of(video)
        state = state or remember(segmenter, video.frames, references, absences_of(video, references))
        save_memory(path, segmenter, state)


def references_of(video: VideoInput) -> dict[int, LabelMask]:
    """Return the given masks by frame index."""
    indices = {frame_name(video.frames, index): index for index in range(len(video.frames))}
    return {indices[name]: mask for name, mask in video.masks.items()}


def absences_of(video: VideoInput, references: Mapping[int, LabelMask]) -> Absences:
    """Return the frames in which objects are absent: as the video lists them, and complete references without them."""
    return {
        object_id: [
            *video.absent.get(object_id, []),
            *(
                (index, index)
                for index, mask in references.items()
                if frame_name(video.frames, index) in video.complete and object_id not in mask.object_ids()
            ),
        ]
        for object_id in video.object_ids
    }


def track_video(segmenter: Segmenter, video: VideoInput, direction: Direction) -> Generator[FrameResult, None, None]:
    """Yield the result of every frame in order; frames that no reference reaches have no objects.

    Results that are computed out of order are buffered on disk.
    """
    references, count = references_of(video), len(video.frames)
    absent = absences_of(video, references)
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
