"""From reference frames through a video: forwards, backwards or both ways, over any range of its frames.

A pass goes from reference to reference. It begins anew at each one that speaks for every object known by then, with a
memory of all such references, those to come included, and of nothing else: what lies between two references depends on
the references alone, and can be tracked again while the rest stays.
"""

from collections import deque
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from itertools import pairwise

import torch

from ..config import Direction, choice
from ..engine.state import Absences, VideoState, absent_ids
from ..errors import UsageError
from ..interrupts import check
from ..io.frames import IndexedFrames, frame_name
from ..io.masks import check_mask
from ..predictor import Segmenter
from ..results import FrameResult, Pass, Prediction
from ..types import LabelMask
from .encoded_references import Encoded, EncodedReferences, Stretch, remembering, result_of, state_after
from .waiting_results import WaitingResults


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

    A reference speaks for the objects that it shows and for those that are `absent` on its frame; others are predicted
    there. References that speak for every object known by then, in the order of the pass, are in memory from the start.

    Args:
        segmenter: The network.
        frames: The video.
        references: Masks by frame index, of the frames' size.
        direction: `forward`: each frame from the references at or before it; `backward`: from those at or after it;
            `both`: where an object has references on both sides, the mean of the two passes, each weighted by how near
            its reference is.
        first: Index of the first frame wanted.
        last: Index of the last one; None: the video's.
        absent: Stretches of frames, by first and last index, on which an object is not there, by its id.
        provisional: Whether, with `both`, results of the backward pass are given too, before those that replace them.
        encoded: What earlier calls with the same segmenter and video have encoded; references that are new or others
            now are added. The results are the same.

    Returns:
        Results of the frames that can be reached from a reference, in the order in which they are computed. To close it
        stops the work after the frame in progress.

    Raises:
        UsageError: At the call: references outside the video, of another size, or with an object that is absent there;
            a range outside the video or that no reference reaches.
        VideoError: While iterating, a frame that cannot be read or segmented.
    """
    way = choice(Direction, direction, "direction")
    end = len(frames) - 1 if last is None else last
    plan = Propagation(segmenter, frames, references, absent or {}, encoded)
    plan.check_range(way, first, end)
    if way is Direction.both:
        return plan.both(first, end, provisional)
    return plan.one_way(1, first, end) if way is Direction.forward else plan.one_way(-1, end, first)


def remember(
    segmenter: Segmenter, frames: IndexedFrames, references: Mapping[int, LabelMask], absent: Absences | None = None
) -> VideoState:
    """The state of a video that remembers references and nothing else, to be saved with `save_memory`.

    On references behind the last one that speaks for every object known by then, the other objects are predicted.
    For the arguments see `propagate`.

    Raises:
        UsageError: See `propagate`.
    """
    plan = Propagation(segmenter, frames, references, absent or {})
    last = plan.starts(1)[-1]
    state = plan.remembering(plan.spoken[last], 1)
    if later := [index for index in plan.spoken if index > last]:
        state = state_after(segmenter, state, plan.encoded(last, plan.spoken[last]))
        deque(plan.results_behind(state, [*later, later[-1]]), maxlen=0)  # a video's last frame is not remembered
    return state


def encode_ahead(
    segmenter: Segmenter,
    frames: IndexedFrames,
    references: Mapping[int, LabelMask],
    absent: Absences,
    encoded: EncodedReferences,
) -> Iterator[int]:
    """Encode references ahead of a call of `propagate`, one at each step; gives their indices.

    Raises:
        UsageError: See `propagate`.
    """
    plan = Propagation(segmenter, frames, references, absent, encoded)
    for index, object_ids in plan.spoken.items():
        if object_ids:
            plan.encoded(index, object_ids)
            yield index


class Propagation:
    """References of a video, and the passes that start from them. `step` is 1 forwards, -1 backwards."""

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
        self._encoded.forget_others(references)
        if not references:
            raise UsageError("there is no reference: give at least one mask of a frame")
        self.spoken: dict[int, frozenset[int]] = {}  # ids that each reference speaks for, ascending by index
        for index in sorted(references):
            self._check_reference(index, references[index])
            self.spoken[index] = frozenset([*references[index].object_ids(), *absent_ids(self.absent, index)])
        self.object_ids = frozenset[int]().union(*self.spoken.values())
        if not self.object_ids:
            raise UsageError("all references are empty: there is no object to follow")

    def check_range(self, way: Direction, first: int, last: int) -> None:
        """Raise UsageError for a range that is not in the video, or that no reference reaches."""
        if not 0 <= first <= last < len(self.frames):
            raise UsageError(
                f"frames {first} to {last} are no range of {self.frames.name}, whose frames are 0 to "
                f"{len(self.frames) - 1}"
            )
        if way is Direction.forward and last < min(self.references):
            raise UsageError(f"no reference at or before frame {last} to track forwards from: use direction=backward")
        if way is Direction.backward and first > max(self.references):
            raise UsageError(f"no reference at or after frame {first} to track backwards from: use direction=forward")

    def one_way(self, step: int, near: int, far: int) -> Generator[FrameResult, None, None]:
        """Results of frames `near` to `far`, both included, in the order of the pass.

        Where no pass begins at `near`, the frames before it are gone through from the reference that one begins at.
        """
        starts = self.starts(step)
        begun: dict[frozenset[int], VideoState] = {}
        for start, following in zip(starts, [*starts[1:], far + step], strict=True):
            stop = step * min(step * far, step * (following - step))  # the last frame before the next one begins
            if step * stop < step * near or step * stop < step * start:
                continue
            known = self.spoken[start]
            if known not in begun:
                begun[known] = self.remembering(known, step)
            reference = self.encoded(start, known)
            if step * start >= step * near:
                mask, ids = self.references[start], begun[known].object_ids
                yield self._checked(result_of(reference, ids, self.frames[start], mask))
            state = state_after(self.segmenter, begun[known], reference)
            for result in self.results_behind(state, range(start + step, stop + step, step)):
                if step * result.frame.index >= step * near:
                    yield result

    def both(self, first: int, last: int, provisional: bool) -> Generator[FrameResult, None, None]:
        """Results of a range: before the first reference backwards, after the last forwards, in between mixed."""
        begin, end = min(self.references), max(self.references)
        if first < begin:
            yield from self.one_way(-1, min(last, begin - 1), first)
        cuts = sorted({begin, end, *set(self.starts(1)).intersection(self.starts(-1))})
        for left, right in [*pairwise(cuts), (end, end)]:
            near, far = max(first, left), min(last, right if left == right else right - 1)
            if near <= far:
                yield from self._mixed(near, far, provisional)
        if last > end:
            yield from self.one_way(1, max(first, end + 1), last)

    def _mixed(self, first: int, last: int, provisional: bool) -> Generator[FrameResult, None, None]:
        """Results between two references; those of the backward pass wait for the forward one."""
        weights = {index: self._weights(index) for index in range(first, last + 1)}
        mixed = [index for index, weight in weights.items() if any(weight.values())]
        with closing(WaitingResults()) as waiting:
            if mixed:
                for result in self.one_way(-1, mixed[-1], mixed[0]):
                    waiting.put(result)
                    if provisional:
                        yield result
            for result in self.one_way(1, first, last):
                index = result.frame.index
                yield self._mix(result, waiting.take(index), weights[index]) if index in waiting else result

    def _mix(self, forward: FrameResult, backward: FrameResult, weights: Mapping[int, float]) -> FrameResult:
        """The result of a frame from those of two passes, by the weight of the backward one for each object."""
        object_ids = tuple(dict.fromkeys([*forward.object_ids, *backward.object_ids]))
        prob = forward.working_prob
        planes = prob.new_zeros(len(object_ids), *prob.shape[-2:])
        for plane, object_id in zip(planes, object_ids, strict=True):
            weight = weights[object_id]
            for way, share in ((forward, 1 - weight), (backward, weight)):
                if object_id in way.object_ids:
                    plane += way.working_prob[1 + way.object_ids.index(object_id)].to(prob) * share
        mixed = torch.cat([(1 - planes.sum(0, keepdim=True)).clamp(min=0), planes])
        prediction = Prediction(mixed / mixed.sum(0), False, object_ids, False, forward.stage_ms)
        result = self.segmenter.result(forward.frame, [prediction])
        confidence = {}
        for object_id, found in result.confidence.items():
            nearer = backward if weights[object_id] > 0.5 else forward
            known = nearer.confidence.get(object_id, found)
            confidence[object_id] = replace(found, key_distance=known.key_distance, drift=known.drift)
        return replace(result, confidence=confidence)

    def _weights(self, index: int) -> dict[int, float]:
        """Of the backward pass on a frame, by object: how near its reference before is, beside the one after."""
        weights = {}
        for object_id in self.object_ids:
            before = max((one for one, ids in self.spoken.items() if object_id in ids and one <= index), default=None)
            after = min((one for one, ids in self.spoken.items() if object_id in ids and one >= index), default=None)
            if before is None or after is None:
                weights[object_id] = float(before is None)
            else:
                weights[object_id] = (index - before) / max(1, after - before)
        return weights

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

    def starts(self, step: int) -> list[int]:
        """The references that speak for every object known by then, in the order of the pass."""
        known: frozenset[int] = frozenset()
        starts = []
        for index in list(self.spoken)[::step]:
            if self.spoken[index] >= known:
                starts.append(index)
            known |= self.spoken[index]
        return starts

    def encoded(self, index: int, known: frozenset[int]) -> Encoded:
        """A reference, of the objects `known` that it speaks for."""
        object_ids = self.spoken[index] & known
        return self._encoded.get(self.segmenter, self.frames, index, self.references[index], object_ids)

    def remembering(self, known: frozenset[int], step: int) -> VideoState:
        """A state that remembers those references at which a pass begins, of the objects `known`, in its order."""
        starts = [index for index in self.starts(step) if self.spoken[index] & known]
        return remembering(self.segmenter, [self.encoded(index, known) for index in starts])

    def results_behind(self, state: VideoState, indices: Sequence[int]) -> Iterator[FrameResult]:
        """Results of frames that follow a reference at which a pass begins; `state` is that after it, changed."""
        state.absent = self.absent
        source = Stretch(self.frames, indices)
        masks = {frame_name(self.frames, index): mask for index, mask in self.references.items() if index in indices}
        passes = [Pass(source, masks, self.segmenter.data.size)]
        with closing(self.segmenter.segment_passes(source, masks, passes, frozenset(masks), [state])) as results:
            yield from map(self._checked, results)

    def _checked(self, result: FrameResult) -> FrameResult:
        """The result, without signs of drift of objects that are absent."""
        check()  # whether to stop: results may be kept for long before the next one is given
        confidence = dict(result.confidence)
        for object_id in confidence.keys() & absent_ids(self.absent, result.frame.index):
            confidence[object_id] = replace(confidence[object_id], drift=())
        return replace(result, confidence=confidence)
