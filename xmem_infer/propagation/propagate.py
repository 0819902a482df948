"""Tracking through a video from reference frames: forwards, backwards or in both directions, over any range of frames.

A pass restarts at each reference that annotates every object known at that point of the pass. The memory then holds
exactly these references, those later in the pass included. So the masks between two references depend on the references
alone, and that part of the video can be tracked again without touching the rest.
"""

from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from itertools import pairwise

from ..config import Direction, choice
from ..engine.state import Absences, VideoState, absent_ids
from ..interrupts import check
from ..io.frames import IndexedFrames
from ..predictor import Segmenter
from ..results import FrameResult
from ..types import LabelMask
from .blending import blend
from .encoded_references import EncodedReference, EncodedReferences, initial_state, segment_frames, state_after
from .references import References
from .result_buffer import ResultBuffer


def propagate(
    segmenter: Segmenter,
    frames: IndexedFrames,
    references: Mapping[int, LabelMask],
    *,
    direction: Direction | str = Direction.both,
    first: int = 0,
    last: int | None = None,
    absent: Absences | None = None,
    provisional: bool = False,
    encoded: EncodedReferences | None = None,
) -> Generator[FrameResult, None, None]:
    """Track the objects of reference frames through a range of a video.

    A reference annotates the objects that it shows and those that are `absent` on its frame; the other objects are
    predicted there. References that annotate every object known at that point of a pass are in memory from its start.

    Args:
        segmenter: The network.
        frames: The video.
        references: Masks of the frames' size, by frame index.
        direction: `forward`: segment each frame from the references at or before it; `backward`: from those at or after
            it; `both`: for an object with references on both sides, average the two passes, weighting each by how near
            its reference is.
        first: Index of the first frame to return.
        last: Index of the last frame to return; None: the last frame of the video.
        absent: Ranges of frames (first index, last index, both included) in which an object is absent, by object id.
        provisional: Whether, with `both`, the results of the backward pass are returned too, ahead of the final
            results of the same frames.
        encoded: A cache of encoded references to share between calls with the same segmenter and video; new and
            changed references are added to it. It does not affect the results.

    Returns:
        The results of the frames that a reference reaches, in the order in which they are computed. Closing the
        generator stops the work after the current frame.

    Raises:
        UsageError: At the call: a reference outside the video, of another size, or showing an object that is absent on
            its frame; a range outside the video, or one that no reference reaches.
        VideoError: While iterating, a frame that cannot be read or segmented.
    """
    chosen = choice(Direction, direction, "direction")
    last = len(frames) - 1 if last is None else last
    propagation = Propagation(segmenter, frames, references, absent or {}, encoded)
    propagation.references.check_range(chosen, first, last)
    if chosen is Direction.both:
        return propagation.both(first, last, provisional)
    if chosen is Direction.forward:
        return propagation.one_pass(1, first, last)
    return propagation.one_pass(-1, last, first)


def remember(
    segmenter: Segmenter, frames: IndexedFrames, references: Mapping[int, LabelMask], absent: Absences | None = None
) -> VideoState:
    """Return the state of a video whose memory holds the references only, to be saved with `save_memory`.

    On references after the last one that annotates every object known at that point, the other objects are predicted.
    For the arguments see `propagate`.

    Raises:
        UsageError: See `propagate`.
    """
    propagation = Propagation(segmenter, frames, references, absent or {})
    annotated, last = propagation.references.annotated, propagation.references.restarts(1)[-1]
    known = annotated[last]
    state = propagation.initial_state(known, 1)
    if later := [index for index in annotated if index > last]:
        state = state_after(segmenter, state, propagation.encoded(last, known))
        for _ in propagation.results_after(state, later):
            pass
    return state


def encode_ahead(
    segmenter: Segmenter,
    frames: IndexedFrames,
    references: Mapping[int, LabelMask],
    absent: Absences,
    encoded: EncodedReferences,
) -> Iterator[int]:
    """Encode references in advance of a call of `propagate`, one per iteration, and yield their indices.

    Raises:
        UsageError: See `propagate`.
    """
    propagation = Propagation(segmenter, frames, references, absent, encoded)
    for index, object_ids in propagation.references.annotated.items():
        if object_ids:
            propagation.encoded(index, object_ids)
            yield index


class Propagation:
    """The passes over one video from its references. `step` is 1 (forwards) or -1 (backwards)."""

    def __init__(
        self,
        segmenter: Segmenter,
        frames: IndexedFrames,
        masks: Mapping[int, LabelMask],
        absent: Absences,
        encoded: EncodedReferences | None = None,
    ):
        self.segmenter, self.frames, self.references = segmenter, frames, References(frames, masks, absent)
        self.cache = encoded or EncodedReferences()
        self.cache.retain(masks)

    def both(self, first: int, last: int, provisional: bool) -> Generator[FrameResult, None, None]:
        """Yield the results of a range: backwards before all references, forwards after them, blended between them."""
        earliest, latest = self.references.earliest, self.references.latest
        if first < earliest:
            yield from self.one_pass(-1, min(last, earliest - 1), first)
        # Both passes restart at the cuts, so that the parts of the video between them are independent.
        cuts = sorted({earliest, latest, *({*self.references.restarts(1)} & {*self.references.restarts(-1)})})
        for cut, next_cut in pairwise([*cuts, latest + 1]):
            if max(first, cut) <= min(last, next_cut - 1):
                yield from self._blended(max(first, cut), min(last, next_cut - 1), provisional)
        if last > latest:
            yield from self.one_pass(1, max(first, latest + 1), last)

    def _blended(self, first: int, last: int, provisional: bool) -> Generator[FrameResult, None, None]:
        """Yield the blended results of frames between references; the backward pass runs first and is buffered."""
        weights = {index: self.references.backward_weights(index) for index in range(first, last + 1)}
        two_sided = [index for index, weight in weights.items() if any(weight.values())]
        with closing(ResultBuffer()) as buffer:
            if two_sided:
                for result in self.one_pass(-1, two_sided[-1], two_sided[0]):
                    buffer.put(result)
                    if provisional:
                        yield result
            for result in self.one_pass(1, first, last):
                index = result.frame.index
                if index in buffer:
                    result = blend(self.segmenter, result, buffer.take(index), weights[index])
                yield result

    def one_pass(self, step: int, near: int, far: int) -> Generator[FrameResult, None, None]:
        """Yield the results of frames `near` to `far`, both included, in the order of the pass.

        If the pass does not restart at `near`, the frames since the last restart are segmented too, but not yielded.
        """
        wanted = range(near, far + step, step)
        states: dict[frozenset[int], VideoState] = {}  # by the ids of the objects known at a restart
        for start, next_start in pairwise([*self.references.restarts(step), far + step]):
            section = range(start, min(next_start, far + step, key=lambda index: step * index), step)
            if not section or section[-1] not in wanted:  # outside the range
                continue
            known = self.references.annotated[start]
            if known not in states:
                states[known] = self.initial_state(known, step)
            reference = self.encoded(start, known)
            if start in wanted:
                object_ids = states[known].object_ids
                yield self._checked(reference.result_of(object_ids, self.frames[start], self.references.masks[start]))
            state = state_after(self.segmenter, states[known], reference)
            for result in self.results_after(state, section[1:]):
                if result.frame.index in wanted:
                    yield result

    def encoded(self, index: int, known: frozenset[int]) -> EncodedReference:
        """Encode a reference, restricted to those of the objects `known` that it annotates."""
        object_ids = self.references.annotated[index] & known
        return self.cache.get(self.segmenter, self.frames, index, self.references.masks[index], object_ids)

    def initial_state(self, known: frozenset[int], step: int) -> VideoState:
        """Return a state with the references at which the pass restarts in memory, restricted to objects `known`."""
        restarts = [index for index in self.references.restarts(step) if self.references.annotated[index] & known]
        return initial_state(self.segmenter, [self.encoded(index, known) for index in restarts])

    def results_after(self, state: VideoState, indices: Sequence[int]) -> Iterator[FrameResult]:
        """Yield the results of frames that follow a restart; `state`, the state after that restart, is modified."""
        state.absent = self.references.absent
        with closing(segment_frames(self.segmenter, self.frames, indices, self.references.masks, state)) as results:
            yield from map(self._checked, results)

    def _checked(self, result: FrameResult) -> FrameResult:
        """Remove signs of drift of objects that are absent, and stop here if a signal was received."""
        check()  # a consumer may buffer many results before it checks for signals itself
        confidence = dict(result.confidence)
        for object_id in confidence.keys() & absent_ids(self.references.absent, result.frame.index):
            confidence[object_id] = replace(confidence[object_id], drift=())
        return replace(result, confidence=confidence)
