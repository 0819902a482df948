"""Encoded reference frames: each is run through the network once and reused by all passes over its video."""

import hashlib
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import closing
from copy import deepcopy
from dataclasses import dataclass, replace
from typing import NamedTuple, cast

import numpy as np
from torch import Tensor

from ..engine.state import VideoState
from ..io.frames import IndexedFrames, frame_name
from ..memory.protocol import Memory
from ..model.family import Features
from ..predictor import Segmenter
from ..results import FrameResult, Pass
from ..types import Frame, LabelMask

NO_PIXELS = np.empty(0, np.uint8)


class FrameSubset:
    """Frames of a video selected by index, in any order, as a frame source."""

    def __init__(self, frames: IndexedFrames, indices: Sequence[int]):
        self.name, self.size, self.fps, self.warnings = frames.name, frames.size, frames.fps, frames.warnings
        self.count: int | None = len(indices)
        self.stems: list[str] | None = None
        self.incomplete = False
        self._frames, self._indices = frames, indices

    def __iter__(self) -> Iterator[Frame]:
        return (self._frames[index] for index in self._indices)


def segment_frames(
    segmenter: Segmenter,
    frames: IndexedFrames,
    indices: Sequence[int],
    references: Mapping[int, LabelMask],
    state: VideoState,
) -> Generator[FrameResult, None, None]:
    """Segment some frames in this order; those that are references stay in memory. `state` is updated in place."""
    source = FrameSubset(frames, indices)
    masks = {frame_name(frames, index): references[index] for index in indices if index in references}
    passes = [Pass(source, masks, segmenter.data.size)]
    return segmenter.segment_passes(source, masks, passes, frozenset(masks), [state])


class FrameKeys(NamedTuple):
    """The part of a frame's features that memories store."""

    key: Tensor
    shrinkage: Tensor
    selection: Tensor


class FrameMemory:
    """The memory of a single frame, from which other memories are filled. It cannot be read itself.

    Attributes:
        frame: The frame's keys.
        value: (1, O, C_v, h, w) in slot order.
    """

    frame: FrameKeys
    value: Tensor
    objects = working_tokens = long_term_tokens = 0

    def add(self, frame: Features, value: Tensor, permanent: bool = False) -> None:
        self.frame, self.value = FrameKeys(frame.key, frame.shrinkage, frame.selection), value

    def detach(self) -> None:
        if hasattr(self, "frame"):  # unset if there are no objects or the frame failed
            self.frame, self.value = FrameKeys(*(x.detach() for x in self.frame)), self.value.detach()


@dataclass(frozen=True)
class EncodedReference:
    """A reference frame, encoded as the first frame of a video.

    Attributes:
        mask_hash: Hash of the mask that it was encoded with.
        state: The video's state after the frame.
        memory: The memory of that state.
        result: The frame's result, without image and mask.
    """

    mask_hash: bytes
    state: VideoState
    memory: FrameMemory
    result: FrameResult

    def slots(self, object_ids: Sequence[int]) -> list[int]:
        """Return the slots of these objects in `state`."""
        return [self.state.object_ids.index(object_id) for object_id in object_ids]

    def result_of(self, object_ids: Sequence[int], frame: Frame, mask: LabelMask) -> FrameResult:
        """Return the result for this frame and mask, its objects in the order of `object_ids`."""
        prob = self.result.working_prob[[0, *(slot + 1 for slot in self.slots(object_ids))]]
        confidence = {object_id: self.result.confidence[object_id] for object_id in object_ids}
        ids = tuple(object_ids)
        return replace(
            self.result, frame=frame, mask=mask.ids, object_ids=ids, confidence=confidence, working_prob=prob
        )


class EncodedReferences:
    """A cache of encoded references for one video and one segmenter, to be reused between calls of `propagate`.

    An entry is encoded again if the reference's mask or the objects absent on its frame have changed.
    """

    def __init__(self) -> None:
        self._cache: dict[tuple[int, frozenset[int]], EncodedReference] = {}

    def retain(self, references: Mapping[int, LabelMask]) -> None:
        """Drop the entries of all other frames."""
        self._cache = {key: entry for key, entry in self._cache.items() if key[0] in references}

    def get(
        self, segmenter: Segmenter, frames: IndexedFrames, index: int, mask: LabelMask, object_ids: frozenset[int]
    ) -> EncodedReference:
        """Return the encoded reference of a frame, restricted to `object_ids`.

        Objects that are only in the mask are ignored; those that are only in `object_ids` are absent.
        """
        mask = replace(mask, ids=mask.ids * np.isin(mask.ids, list(object_ids)))
        mask_hash = hashlib.blake2b(mask.ids.tobytes(), digest_size=16).digest()
        entry = self._cache.get((index, object_ids))
        if entry is not None and entry.mask_hash == mask_hash:
            return entry
        state, memory = segmenter.start(), FrameMemory()
        state.memory = cast(Memory, memory)  # a first frame is added to the memory, which is not read
        state.absent = {object_id: [(index, index)] for object_id in object_ids.difference(mask.object_ids())}
        with closing(segment_frames(segmenter, frames, [index], {index: mask}, state)) as results:
            result = next(results)
        result = replace(result, frame=replace(result.frame, image=NO_PIXELS), mask=NO_PIXELS)
        self._cache[index, object_ids] = entry = EncodedReference(mask_hash, state, memory, result)
        return entry


def initial_state(segmenter: Segmenter, references: Sequence[EncodedReference]) -> VideoState:
    """Return the state of a video before its first frame, with these references in permanent memory."""
    engine = segmenter.engine
    state = engine.start()
    for reference in references:
        with segmenter.running(reference.result.frame.name):
            known = len(state.object_ids)
            state.object_ids += [other for other in reference.state.object_ids if other not in state.object_ids]
            slots = reference.slots(state.object_ids)
            state.memory = state.memory or engine.new_memory(engine.config, reference.memory.frame)
            state.memory.add(reference.memory.frame, reference.memory.value[:, slots], permanent=True)
            objects = {name: x[:, slots] for name, x in (reference.state.objects or {}).items()}
            for name in engine.conventions.summed:
                if state.objects is not None:
                    objects[name][:, :known] += state.objects[name]
        state.objects, state.frame_size = objects, reference.state.frame_size
    return state


def state_after(segmenter: Segmenter, remembered: VideoState, reference: EncodedReference) -> VideoState:
    """Return the state of a video after a reference as its first frame, with the memory of `remembered`; a copy."""
    engine = segmenter.engine
    with segmenter.running(reference.result.frame.name):
        state = engine.restart(remembered)
        slots, sums = reference.slots(state.object_ids), engine.conventions.summed
        own = {name: x[:, slots] for name, x in (reference.state.objects or {}).items() if name not in sums}
    state.objects = {**(state.objects or {}), **own}
    state.clock, state.drift = deepcopy(reference.state.clock), deepcopy(reference.state.drift)
    state.key = reference.state.key
    return state
