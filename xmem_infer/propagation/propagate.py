"""Tracking through a video from reference frames: forwards, backwards or in both directions, over any range of frames.

A pass restarts at each reference that annotates every object known at that point of the pass. The memory then holds
exactly these references, those later in the pass included. So the masks between two references depend on the references
alone, and that part of the video can be tracked again without touching the rest.
"""

from collections import deque
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from itertools import pairwise

from ..config import Direction, choice
from ..engine.state import Absences, VideoState, absent_ids
from ..errors import UsageError
from ..interrupts import check
from ..io.frames import IndexedFrames, frame_name
from ..io.masks import check_mask
from ..predictor import Segmenter
from ..results import FrameResult, Pass
from ..types import LabelMask
from .blending import backward_weights, blend
from .encoded_references import EncodedReference, EncodedReferences, FrameSubset, initial_state, result_of, state_after
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
    end = len(frames) - 1 if last is None else last
    propagation = Propagation(segmenter, frames, references, absent or {}, encoded)
    propagation.check_range(chosen, first, end)
    if chosen is Direction.both:
        return propagation.both(first, end, provisional)
    if chosen is Direction.forward:
        return propagation.one_direction(1, first, end)
    return propagation.one_direction(-1, end, first)


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
    last = propagation.restarts(1)[-1]
    state = propagation.initial_state(propagation.annotated[last], 1)
    if later := [index for index in propagation.annotated if index > last]:
        state = state_after(segmenter, state, propagation.encoded(last, propagation.annotated[last]))
        deque(propagation.results_after(state, later), maxlen=0)
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
    for index, object_ids in propagation.annotated.items():
        if object_ids:
            propagation.encoded(index, object_ids)
            yield index


class Propagation:
    """The references of one video and the passes that start from them. `step` is 1 (forwards) or -1 (backwards)."""

    def __init__(
        self,
        segmenter: Segmenter,
        frames: IndexedFrames,
        references: Mapping[int, LabelMask],
        absent: Absences,
        encoded: EncodedReferences | None = None,
    ):
        self.segmenter, self.frames, self.references, self.absent = segmenter, frames, references, absent
        self._encoded = encoded or EncodedReferences()
        self._encoded.retain(references)
        if not references:
            raise UsageError("there is no reference: give at least one mask of a frame")
        self.annotated: dict[int, frozenset[int]] = {}  # ids that each reference annotates, ascending by index
        for index in sorted(references):
            self._check_reference(index, references[index])
            self.annotated[index] = frozenset([*references[index].object_ids(), *absent_ids(self.absent, index)])
        if not any(self.annotated.values()):
            raise UsageError("all references are empty: there is no object to follow")

    def check_range(self, direction: Direction, first: int, last: int) -> None:
        """Raise UsageError if a range is outside the video or no reference reaches it."""
        if not 0 <= first <= last < len(self.frames):
            raise UsageError(
                f"frames {first} to {last} are no range of {self.frames.name}, whose frames are 0 to "
                f"{len(self.frames) - 1}"
            )
        if direction is Direction.forward and last < min(self.references):
            raise UsageError(f"no reference at or before frame {last} to track forwards from: use direction=backward")
        if direction is Direction.backward and first > max(self.references):
            raise UsageError(f"no reference at or after frame {first} to track backwards from: use direction=forward")

    def one_direction(self, step: int, near: int, far: int) -> Generator[FrameResult, None, None]:
        """Yield the results of frames `near` to `far`, both included, in the order of the pass.

        If the pass does not restart at `near`, the frames since the last restart are segmented too, but not yielded.
        """
        restarts = self.restarts(step)
        initial_states: dict[frozenset[int], VideoState] = {}
        for start, next_start in zip(restarts, [*restarts[1:], far + step], strict=True):
            section = range(start, step * min(step * (far + step), step * next_start), step)
            if not section or step * section[-1] < step * near:
                continue
            known = self.annotated[start]
            if known not in initial_states:
                initial_states[known] = self.initial_state(known, step)
            reference = self.encoded(start, known)
            if step * start >= step * near:
                mask, ids = self.references[start], initial_states[known].object_ids
                yield self._checked(result_of(reference, ids, self.frames[start], mask))
            state = state_after(self.segmenter, initial_states[known], reference)
            for result in self.results_after(state, section[1:]):
                if step * result.frame.index >= step * near:
                    yield result

    def both(self, first: int, last: int, provisional: bool) -> Generator[FrameResult, None, None]:
        """Yield the results of a range: backwards before all references, forwards after them, blended between them."""
        earliest, latest = min(self.references), max(self.references)
        if first < earliest:
            yield from self.one_direction(-1, min(last, earliest - 1), first)
        # Both passes restart at the cuts, so that the parts of the video between them are independent.
        cuts = sorted({earliest, latest, *set(self.restarts(1)).intersection(self.restarts(-1))})
        for left, right in [*pairwise(cuts), (latest, latest)]:
            near, far = max(first, left), min(last, right if left == right else right - 1)
            if near <= far:
                yield from self._blended(near, far, provisional)
        if last > latest:
            yield from self.one_direction(1, max(first, latest + 1), last)

    def _blended(self, first: int, last: int, provisional: bool) -> Generator[FrameResult, None, None]:
        """Yield the blended results of frames between references; the backward pass runs first and is buffered."""
        weights = {index: backward_weights(self.annotated, index) for index in range(first, last + 1)}
        two_sided = [index for index, weight in weights.items() if any(weight.values())]
        with closing(ResultBuffer()) as buffer:
            if two_sided:
                for result in self.one_direction(-1, two_sided[-1], two_sided[0]):
                    buffer.put(result)
                    if provisional:
                        yield result
            for result in self.one_direction(1, first, last):
                index = result.frame.index
                if index in buffer:
                    result = blend(self.segmenter, result, buffer.take(index), weights[index])
                yield result

    def _check_reference(self, index: int, mask: LabelMask) -> None:
        if not 0 <= index < len(self.frames):
            raise UsageError(
                f"reference {index} is no frame of {self.frames.name}, whose frames are 0 to {len(self.frames) - 1}"
            )
        check_mask(mask, self.frames.size, f"frame {index} of {self.frames.name}")
        if wrong := sorted(set(mask.object_ids()) & set(absent_ids(self.absent, index))):
            raise UsageError(
                f"reference {index} shows object {wrong[0]}, which is absent there: remove it from the mask, or "
                "end the absence before that frame"
            )

    def restarts(self, step: int) -> list[int]:
        """Return the references that annotate every object known at that point of the pass, in pass order."""
        known: frozenset[int] = frozenset()
        restarts = []
        for index in list(self.annotated)[::step]:
            if self.annotated[index] >= known:
                restarts.append(index)
            known |= self.annotated[index]
        return restarts

    def encoded(self, index: int, known: frozenset[int]) -> EncodedReference:
        """Encode a reference, restricted to those of the objects `known` that it annotates."""
        object_ids = self.annotated[index] & known
        return self._encoded.get(self.segmenter, self.frames, index, self.references[index], object_ids)

    def initial_state(self, known: frozenset[int], step: int) -> VideoState:
        """Return a state with the references at which the pass restarts in memory, restricted to objects `known`."""
        restarts = [index for index in self.restarts(step) if self.annotated[index] & known]
        return initial_state(self.segmenter, [self.encoded(index, known) for index in restarts])

    def results_after(self, state: VideoState, indices: Sequence[int]) -> Iterator[FrameResult]:
        """Yield the results of frames that follow a restart; `state`, the state after that restart, is modified."""
        state.absent = self.absent
        source = FrameSubset(self.frames, indices)
        masks = {frame_name(self.frames, index): mask for index, mask in self.references.items() if index in indices}
        passes = [Pass(source, masks, self.segmenter.data.size)]
        with closing(self.segmenter.segment_passes(source, masks, passes, frozenset(masks), [state])) as results:
            yield from map(self._checked, results)

    def _checked(self, result: FrameResult) -> FrameResult:
        """Remove signs of drift of objects that are absent, and stop here if a signal was received."""
        check()  # a consumer may buffer many results before it checks for signals itself
        confidence = dict(result.confidence)
        for object_id in confidence.keys() & absent_ids(self.absent, result.frame.index):
            confidence[object_id] = replace(confidence[object_id], drift=())
        return replace(result, confidence=confidence)
