"""Reference frames as a network has encoded them: each once, for any number of passes over their video."""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from copy import deepcopy
from dataclasses import dataclass, replace

import numpy as np
from torch import Tensor

from ..engine.state import VideoState
from ..io.frames import IndexedFrames, frame_name
from ..model.family import Features
from ..predictor import Segmenter
from ..results import FrameResult, Pass
from ..types import Frame, LabelMask

NOTHING = np.empty(0, np.uint8)


class Stretch:
    """Frames of a video in any order, as a source of its own."""

    def __init__(self, frames: IndexedFrames, indices: Sequence[int]):
        self.name, self.size, self.fps, self.warnings = frames.name, frames.size, frames.fps, frames.warnings
        self.count: int | None = len(indices)
        self.stems: list[str] | None = None
        self.incomplete = False
        self._frames, self._indices = frames, indices

    def __iter__(self) -> Iterator[Frame]:
        return (self._frames[index] for index in self._indices)


class _Twice(Stretch):
    """One frame, given twice: nothing is remembered of the last one."""

    def __iter__(self) -> Iterator[Frame]:
        return iter([self._frames[self._indices[0]]] * 2)


@dataclass(frozen=True)
class FrameKeys:
    """What memories read of a frame's features."""

    key: Tensor
    shrinkage: Tensor
    selection: Tensor


class FrameMemory:
    """A memory of one frame that is never read: other memories are filled from it.

    Attributes:
        frame: Its keys.
        value: (1, O, C_v, h, w) in slot order.
    """

    frame: FrameKeys
    value: Tensor
    objects = working_tokens = long_term_tokens = 0

    def read(self, query: Features) -> list[Tensor]:
        raise NotImplementedError

    def undo_read(self) -> None:
        raise NotImplementedError

    def add(self, frame: Features, value: Tensor, permanent: bool = False) -> None:
        """See `Memory.add`."""
        self.frame, self.value = FrameKeys(frame.key, frame.shrinkage, frame.selection), value

    def remove(self, slot: int) -> None:
        raise NotImplementedError

    def detach(self) -> None:
        """See `Memory.detach`."""
        frame = getattr(self, "frame", None)  # none without objects, or where the frame failed
        if frame is not None:
            keys = FrameKeys(frame.key.detach(), frame.shrinkage.detach(), frame.selection.detach())
            self.add(keys, self.value.detach())


@dataclass(frozen=True)
class Encoded:
    """A reference as the first frame of a video.

    Attributes:
        mask_hash: Of the mask that it was encoded with.
        state: After it.
        memory: That state's.
        result: Its result, without the pictures.
    """

    mask_hash: bytes
    state: VideoState
    memory: FrameMemory
    result: FrameResult

    def slots(self, object_ids: Sequence[int]) -> list[int]:
        """The slots of these objects here."""
        return [self.state.object_ids.index(one) for one in object_ids]


class EncodedReferences:
    """The references of one video that one segmenter has encoded, kept from call to call of `propagate`.

    A reference whose mask or absences are others than before is encoded again.
    """

    def __init__(self) -> None:
        self._known: dict[tuple[int, frozenset[int]], Encoded] = {}

    def forget_others(self, references: Mapping[int, LabelMask]) -> None:
        """Keep what is of these frames."""
        self._known = {key: one for key, one in self._known.items() if key[0] in references}

    def get(
        self, segmenter: Segmenter, frames: IndexedFrames, index: int, mask: LabelMask, object_ids: frozenset[int]
    ) -> Encoded:
        """A reference, with the objects of which its mask speaks; others that it shows are ignored."""
        mask = replace(mask, ids=mask.ids * np.isin(mask.ids, list(object_ids)))
        mask_hash = hashlib.blake2b(mask.ids.tobytes(), digest_size=16).digest()
        found = self._known.get((index, object_ids))
        if found is None or found.mask_hash != mask_hash:
            found = self._known[index, object_ids] = _encode(segmenter, frames, index, mask, object_ids, mask_hash)
        return found


def _encode(
    segmenter: Segmenter,
    frames: IndexedFrames,
    index: int,
    mask: LabelMask,
    object_ids: frozenset[int],
    mask_hash: bytes,
) -> Encoded:
    state, memory, name = segmenter.start(), FrameMemory(), frame_name(frames, index)
    state.memory = memory
    state.absent = {one: [(index, index)] for one in object_ids.difference(mask.object_ids())}
    source = _Twice(frames, [index])
    passes = [Pass(source, {name: mask}, segmenter.data.size)]
    with closing(segmenter.segment_passes(source, passes[0].masks, passes, frozenset([name]), [state])) as results:
        result = next(results)
    if segmenter.runtime.grad_mode.records:
        state.detach()
    nothing = replace(result.frame, image=NOTHING)
    return Encoded(mask_hash, state, memory, replace(result, frame=nothing, mask=NOTHING))


def remembering(segmenter: Segmenter, references: Sequence[Encoded]) -> VideoState:
    """The state of a video before its first frame, that remembers references for good."""
    engine = segmenter.engine
    state = engine.start()
    for one in references:
        with segmenter.running(one.result.frame.name):
            known = len(state.object_ids)
            state.object_ids += [other for other in one.state.object_ids if other not in state.object_ids]
            slots = one.slots(state.object_ids)
            state.memory = state.memory or engine.new_memory(engine.config, one.memory.frame)
            state.memory.add(one.memory.frame, one.memory.value[:, slots], permanent=True)
            objects = {name: x[:, slots] for name, x in (one.state.objects or {}).items()}
            for name in engine.conventions.summed:
                if state.objects is not None:
                    objects[name][:, :known] += state.objects[name]
        state.objects, state.frame_size = objects, one.state.frame_size
    return state


def state_after(segmenter: Segmenter, remembered: VideoState, reference: Encoded) -> VideoState:
    """The state of a video after a reference, its first frame, with what another state remembers; a copy."""
    engine = segmenter.engine
    with segmenter.running(reference.result.frame.name):
        state = engine.restart(remembered)
        slots, sums = reference.slots(state.object_ids), engine.conventions.summed
        own = {name: x[:, slots] for name, x in (reference.state.objects or {}).items() if name not in sums}
    state.objects = {**(state.objects or {}), **own}
    state.clock, state.drift = deepcopy(reference.state.clock), deepcopy(reference.state.drift)
    state.key = reference.state.key
    return state


def result_of(reference: Encoded, object_ids: Sequence[int], frame: Frame, mask: LabelMask) -> FrameResult:
    """The result of a reference, its objects in the order of `object_ids`."""
    found, slots = reference.result, reference.slots(object_ids)
    prob = found.working_prob[[0, *(slot + 1 for slot in slots)]]
    confidence = {one: found.confidence[one] for one in object_ids}
    return replace(
        found, frame=frame, mask=mask.ids, object_ids=tuple(object_ids), confidence=confidence, working_prob=prob
    )
