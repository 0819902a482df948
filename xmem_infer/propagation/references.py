"""The references of a video: which objects they annotate, where passes can restart, and how two passes are weighted."""

from collections.abc import Mapping

from ..config import Direction
from ..engine.state import Absences, absent_ids
from ..errors import UsageError
from ..io.frames import IndexedFrames
from ..io.masks import check_mask
from ..types import LabelMask


class References:
    """The references of one video. `step` is 1 for a forward pass and -1 for a backward pass.

    Attributes:
        masks: The masks by frame index.
        absent: Ranges of frames in which objects are absent.
        annotated: Ids of the objects that each reference annotates, by its index, in ascending order.
        earliest: Index of the first reference.
        latest: Index of the last reference.
    """

    def __init__(self, frames: IndexedFrames, masks: Mapping[int, LabelMask], absent: Absences) -> None:
        """Raise UsageError if there is no reference or an invalid one."""
        self.masks, self.absent = masks, absent
        self._video, self._count, self._size = frames.name, len(frames), frames.size
        if not masks:
            raise UsageError("there is no reference: give at least one mask of a frame")
        self.annotated = {index: self._annotated(index) for index in sorted(masks)}
        if not any(self.annotated.values()):
            raise UsageError("all references are empty: there is no object to follow")
        self.earliest, self.latest = min(masks), max(masks)

    def _annotated(self, index: int) -> frozenset[int]:
        if not 0 <= index < self._count:
            last = self._count - 1
            raise UsageError(f"reference {index} is no frame of {self._video}, whose frames are 0 to {last}")
        check_mask(self.masks[index], self._size, f"frame {index} of {self._video}")
        shown, absent = self.masks[index].object_ids(), absent_ids(self.absent, index)
        if wrong := sorted({*shown} & {*absent}):
            raise UsageError(
                f"reference {index} shows object {wrong[0]}, which is absent there: remove it from the mask, or "
                "end the absence before that frame"
            )
        return frozenset([*shown, *absent])

    def check_range(self, direction: Direction, first: int, last: int) -> None:
        """Raise UsageError if a range is outside the video or no reference reaches it."""
        if not 0 <= first <= last < self._count:
            frames = f"{self._video}, whose frames are 0 to {self._count - 1}"
            raise UsageError(f"frames {first} to {last} are no range of {frames}")
        if direction is Direction.forward and last < self.earliest:
            raise UsageError(f"no reference at or before frame {last} to track forwards from: use direction=backward")
        if direction is Direction.backward and first > self.latest:
            raise UsageError(f"no reference at or after frame {first} to track backwards from: use direction=forward")

    def restarts(self, step: int) -> list[int]:
        """Return the references that annotate every object known at that point of the pass, in pass order."""
        known: frozenset[int] = frozenset()
        restarts = []
        for index in list(self.annotated)[::step]:
            if self.annotated[index] >= known:
                restarts.append(index)
            known |= self.annotated[index]
        return restarts

    def backward_weights(self, index: int) -> dict[int, float]:
        """Return the weights of the backward pass on a frame, by object id.

        The weight grows linearly from 0 at the object's previous reference to 1 at its next one. It is 1 if there is no
        previous reference, and 0 if there is no next one.
        """
        weights = {}
        for object_id in frozenset[int]().union(*self.annotated.values()):
            references = [reference for reference, ids in self.annotated.items() if object_id in ids]
            before = max((reference for reference in references if reference <= index), default=None)
            after = min((reference for reference in references if reference >= index), default=None)
            if before is None or after is None:
                weights[object_id] = float(before is None)
            else:
                weights[object_id] = (index - before) / max(1, after - before)
        return weights
