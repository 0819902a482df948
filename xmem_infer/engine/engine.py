"""The frame loop: one frame at a time, objects given, corrected or removed at any of them."""

from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass, replace
from math import isfinite

import torch
from torch import Tensor, nn

from ..config import MemoryConfig
from ..errors import NonFiniteError, UsageError
from ..memory import per_bucket  # noqa: F401  # registers the memory of that name
from ..memory.manager import MEMORIES
from ..memory.protocol import Memory, StorableMemory
from ..model.family import Network, ObjectState
from ..ops.images import pad, padding_for, unpad
from ..ops.masks import aggregate, one_hot, without
from .schedule import Clock, advance, plan_frame
from .state import VideoState

SUMS = "objects."  # before the names of sums in an exported memory


@dataclass(frozen=True)
class GivenMask:
    """A mask as taken: masks (O, H, W), one channel per known object, empty where not `taken` (per slot)."""

    masks: Tensor
    taken: tuple[bool, ...]

    @property
    def every_object(self) -> bool:
        """Whether it labels every object, so that nothing is left to predict."""
        return all(self.taken)


def ids_to_take(known: list[int], present: list[int], complete: bool = False) -> list[int]:
    """The object ids a mask speaks for, told by those `present` in it (0 is none).

    It speaks for the objects it shows, new or known: one that is not painted keeps its prediction, where no other is
    painted. A `complete` mask shows every object there is: one that is not painted is absent on that frame.
    """
    shown = [value for value in present if value != 0]
    return [*known, *(value for value in shown if value not in known)] if complete else shown


def take_mask(known: list[int], mask: Tensor, object_ids: list[int]) -> tuple[list[int], GivenMask | None]:
    """Read a label image (H, W), 0 = background: the known ids (new ones at the end) and what it gives.

    object_ids: those it speaks for, known or new; others in the image are ignored.
    """
    if not object_ids:
        return known, None
    known = known + [value for value in object_ids if value not in known]
    taken = tuple(value in object_ids for value in known)
    masks = one_hot(mask, known) * torch.tensor(taken, device=mask.device)[:, None, None]
    return known, GivenMask(masks, taken)


class Engine:
    """Steps a video through a network that is ready to run. Holds nothing of the video: that is the VideoState's."""

    def __init__(self, network: Network, config: MemoryConfig):
        self.network = network
        self.conventions = network.conventions
        self.config = replace(config, kind=self.conventions.memory) if config.kind == "auto" else config
        self.new_memory = MEMORIES[self.config.kind]
        weights = network.parameters() if isinstance(network, nn.Module) else ()
        # Half precision is the backend's matter: it takes float32.
        self.dtype = torch.float64 if any(weight.dtype is torch.float64 for weight in weights) else torch.float32

    def start(self) -> VideoState:
        """The state of a video before its first frame."""
        return VideoState(Clock.start(self.config))

    def restart(self, state: VideoState) -> VideoState:
        """The state of a video before its first frame, that remembers what another state does; a copy."""
        kept, objects = self.conventions.summed, state.objects or {}
        begun = {name: x.clone() if name in kept else torch.zeros_like(x) for name, x in objects.items()}
        fresh = self.recalling(dict(state.recalled), state.object_ids, state.frozen)
        fresh.memory, fresh.objects, fresh.frame_size = deepcopy(state.memory), begun or None, state.frame_size
        fresh.removed = list(state.removed)
        return fresh

    def step(
        self,
        state: VideoState,
        image: Tensor,
        mask: Tensor | None = None,
        object_ids: Sequence[int] | None = None,
        permanent: bool = False,
        end: bool = False,
        complete: bool = False,
        absent: Sequence[int] = (),
    ) -> Tensor:
        """Segment the next frame.

        Args:
            state: The video's; changed only where the frame succeeds.
            image: (3, H, W) float, normalised, on the network's device.
            mask: (H, W) integer label image of the same size with new objects or a correction.
            object_ids: Which of the mask's ids to take, known or new, also where it does not show them; None: those it
                shows, and with `complete` every known one.
            permanent: Remember this frame, and never evict or consolidate it.
            end: This is the last frame; nothing will be read from memory any more.
            complete: The mask shows every object: one that is not painted is absent. Otherwise it keeps its prediction.
            absent: Known ids whose probability is 0 on this frame.

        Returns:
            Probabilities (O + 1, H, W), background first, then slots as state.object_ids. Until an object is given
            every pixel is background.

        Raises:
            UsageError: Image, mask or ids are not what is described above, or the video has ended.
            NonFiniteError: The probabilities are not finite.
        """
        _check_step(state, image, mask, object_ids, self.dtype)
        known, given = state.object_ids, None
        if mask is not None:
            if object_ids is None:
                object_ids = ids_to_take(known, torch.unique(mask).tolist(), complete)
            known, given = take_mask(known, mask, list(object_ids))
        new = known[len(state.object_ids) :]
        if new and state.frozen:
            raise UsageError(f"the mask shows new objects {new}, but the memory is frozen: nothing is added to it")
        size = (image.shape[-2], image.shape[-1])
        if not known:
            state.frame_size, state.ended = size, end
            return image.new_ones(1, *size)
        padding = padding_for(*size)
        image = pad(image, padding, self.conventions.padding)[None]
        remembered = given is not None or permanent
        complete, staggered = given is not None and given.every_object, self.conventions.staggered_updates
        # New objects are remembered on the last frame too: the memory may be saved.
        plan = plan_frame(state.clock, self.config, remembered, complete, end and not new, staggered)
        features = self.network.encode_image(image)
        objects = state.objects or self.network.empty_state(features)
        memory, prob = state.memory or self.new_memory(self.config, features), None
        if state.recalled:
            objects = self._recall(memory, objects, state)
        was_read = False
        try:
            if plan.segment and memory.objects:
                readouts, was_read = memory.read(features), True
                objects, odds, batch = self.network.segment(features, readouts, objects, plan.sensory_update)
                prob = batch[0]
                del odds, readouts  # as large as the probabilities: not to be held while the frame is remembered
                if gone := [slot for slot, known_id in enumerate(state.object_ids) if known_id in absent]:
                    prob = without(prob, gone)
            if given is not None:
                prob = _merge(prob, GivenMask(pad(given.masks.to(image), padding), given.taken))
            assert prob is not None, "a frame is segmented or given"
            # One number that is not finite makes the sum so, in a fortieth of the time that asking each one takes.
            if not isfinite(prob.sum(dtype=torch.float32).item()):
                raise NonFiniteError("the network gave non-finite probabilities")
            if new:
                objects = _with_objects(objects, len(known))
            if plan.memory_frame:
                sums = {name: objects[name] for name in self.conventions.summed}
                value, objects = self.network.encode_memory(image, features, objects, prob[None, 1:], plan.deep_update)
                if state.frozen:
                    objects = {**objects, **sums}
                else:
                    memory.add(features, value, permanent)
        except BaseException:
            if was_read:
                memory.undo_read()
            raise
        state.object_ids, state.objects, state.memory = known, objects, memory
        state.recalled, state.removed = {}, []
        state.frame_size, state.ended, state.key = size, end, features.key.detach()
        advance(state.clock, plan)
        return unpad(prob, padding)

    def _recall(self, memory: Memory, objects: ObjectState, state: VideoState) -> ObjectState:
        """Fill a new memory with what the state recalls; the object state that goes with it."""
        device = next(iter(objects.values())).device
        recalled = {name: x.to(device) for name, x in state.recalled.items()}
        assert isinstance(memory, StorableMemory), "one of its kind was saved"
        memory.restore({name: x for name, x in recalled.items() if not name.startswith(SUMS)})
        sums = {name.removeprefix(SUMS): x for name, x in recalled.items() if name.startswith(SUMS)}
        for slot in state.removed:
            memory.remove(slot)
            sums = _without_object(sums, slot)
        return {**_with_objects(objects, len(state.object_ids)), **sums}

    def exported(self, state: VideoState) -> dict[str, Tensor]:
        """What a state remembers, for another one to recall. Raises UsageError where that is nothing."""
        if state.memory is None or state.objects is None:
            raise UsageError("there is no memory to save: no object has been given yet")
        if not isinstance(state.memory, StorableMemory):
            raise UsageError(f"a memory of kind {self.config.kind} cannot be saved: it lacks `exported`")
        sums = {f"{SUMS}{name}": state.objects[name].clone() for name in self.conventions.summed}
        return {**state.memory.exported(), **sums}

    def recalling(self, tensors: dict[str, Tensor], object_ids: Sequence[int], frozen: bool = False) -> VideoState:
        """The state of a video whose first frame is segmented by what another state remembered."""
        clock = Clock.start(self.config)
        clock.t = int(bool(object_ids))  # there was a frame with masks
        return VideoState(clock, list(object_ids), frozen=frozen, recalled=tensors)

    def rename(self, state: VideoState, object_id: int, new_id: int) -> None:
        """Give an object another id.

        Raises:
            UsageError: There is no such object, or the new id is no id or another object's.
        """
        if object_id not in state.object_ids:
            raise UsageError(f"there is no object {object_id} to rename; objects are {state.object_ids}")
        if new_id < 1 or new_id in state.object_ids:
            raise UsageError(f"object {object_id} cannot become {new_id}: ids are positive and differ")
        state.object_ids[state.object_ids.index(object_id)] = new_id

    def remove(self, state: VideoState, object_id: int) -> None:
        """Forget an object: it is not segmented from the next frame on. After the last one all starts anew.

        Raises:
            UsageError: There is no such object.
        """
        if object_id not in state.object_ids:
            raise UsageError(f"there is no object {object_id} to remove; objects are {state.object_ids}")
        slot = state.object_ids.index(object_id)
        state.object_ids = [other for other in state.object_ids if other != object_id]
        if not state.object_ids:
            state.clock, state.memory, state.objects = Clock.start(self.config), None, None
            state.recalled, state.removed = {}, []
        elif state.objects is None or state.memory is None:
            state.removed.append(slot)
        else:
            state.objects = _without_object(state.objects, slot)
            state.memory.remove(slot)


def _without_object(state: ObjectState, slot: int) -> ObjectState:
    return {name: torch.cat([x[:, :slot], x[:, slot + 1 :]], 1) for name, x in state.items()}


def _with_objects(state: ObjectState, count: int) -> ObjectState:
    """The state grown to `count` objects, new ones at zero."""
    grown = {}
    for name, x in state.items():
        zeros = x.new_zeros(x.shape[0], count - x.shape[1], *x.shape[2:])
        grown[name] = torch.cat([x, zeros], 1)
    return grown


def _check_step(
    state: VideoState, image: Tensor, mask: Tensor | None, object_ids: Sequence[int] | None, dtype: torch.dtype
) -> None:
    """Refuse what the network cannot take, before anything changes."""
    if state.ended:
        raise UsageError("this video has ended (its last step had end=True): start a new one with Engine.start()")
    if image.ndim != 3 or image.shape[0] != 3 or image.dtype is not dtype:
        kind = str(dtype).removeprefix("torch.")
        raise UsageError(f"an image must be (3, H, W) {kind}, got {_described(image)}")
    if not isfinite(image.sum(dtype=torch.float32).item()):
        raise UsageError("the image holds NaN or infinity")
    size = (image.shape[-2], image.shape[-1])
    known_size = state.frame_size or size
    if size != known_size:
        raise UsageError(f"frame of {size} (H, W) in a video of {known_size}: all must be of one size")
    if mask is None:
        if object_ids:
            raise UsageError(f"object_ids={list(object_ids)} without a mask: give the mask that shows them")
        return
    if tuple(mask.shape) != size:
        raise UsageError(f"mask of {tuple(mask.shape)} (H, W) for a frame of {size}: they must be equal")
    if mask.is_floating_point() or mask.is_complex() or mask.dtype is torch.bool:
        raise UsageError(f"a mask must hold integer object ids, got {_described(mask)}")
    if object_ids is not None and (min(object_ids, default=1) < 1 or len(set(object_ids)) != len(object_ids)):
        raise UsageError(f"object_ids={list(object_ids)}: ids must differ and be positive, 0 is the background")


def _described(x: Tensor) -> str:
    return f"{tuple(x.shape)} {str(x.dtype).removeprefix('torch.')}"


def _merge(prob: Tensor | None, given: GivenMask) -> Tensor:
    """Given masks over predictions: what they cover is theirs, objects they leave open keep the rest.

    prob (O' + 1, H, W) of the objects known before, or None; returns (O + 1, H, W).
    """
    masks = given.masks.clone()
    if prob is not None:
        covered = given.masks.sum(0) > 0.5
        predicted = prob[1:].masked_fill(covered, 0)
        for slot, taken in enumerate(given.taken):
            if not taken:
                masks[slot] = predicted[slot]
    return aggregate(masks)
