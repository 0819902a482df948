"""The frame loop: segment one frame at a time; objects can be added, corrected or removed at any frame."""

from collections.abc import Sequence
from copy import deepcopy
from dataclasses import replace
from math import isfinite

import torch
from torch import Tensor, nn

from ..config import MemoryConfig
from ..errors import NonFiniteError, UsageError
from ..memory import per_bucket  # noqa: F401  # imported to register itself in MEMORIES
from ..memory.manager import MEMORIES
from ..memory.protocol import Memory, StorableMemory
from ..model.family import Network, ObjectState
from ..ops.images import pad, padding_for
from ..ops.masks import aggregate, one_hot, remove_objects
from .schedule import Clock, advance, plan_frame
from .state import VideoState

SUMS = "objects."  # prefix of the summed entries of the object state in an exported memory


def annotated_ids(known: list[int], present: list[int], complete: bool = False) -> list[int]:
    """Return the ids of the objects that a mask annotates, from the values `present` in it (0 is background).

    A mask annotates the objects it shows, new or known; the other objects keep their prediction on pixels that it
    leaves unpainted. A `complete` mask annotates all `known` objects too: those it does not show are absent.
    """
    shown = [value for value in present if value != 0]
    return [*known, *(value for value in shown if value not in known)] if complete else shown


class Engine:
    """Run a prepared network over videos frame by frame. All state of a video is in its VideoState."""

    def __init__(self, network: Network, config: MemoryConfig):
        self.network = network
        self.conventions = network.conventions
        self.config = replace(config, kind=self.conventions.memory) if config.kind == "auto" else config
        self.new_memory = MEMORIES[self.config.kind]
        weights = network.parameters() if isinstance(network, nn.Module) else ()
        # Images are float32 even in half precision: the backend casts them.
        self.dtype = torch.float64 if any(weight.dtype is torch.float64 for weight in weights) else torch.float32

    def start(self) -> VideoState:
        """Return the state of a video before its first frame."""
        return VideoState()

    def restart(self, state: VideoState) -> VideoState:
        """Return the state of a video before its first frame, with a copy of the objects and memory of `state`.

        Raises:
            UsageError: `state` carries an autograd graph, which cannot be copied.
        """
        summed, objects = self.conventions.summed, state.objects or {}
        if any(x.grad_fn is not None for x in objects.values()):
            raise UsageError(
                "this state carries an autograd graph (its steps ran with gradients enabled), which cannot be copied: "
                "call state.detach() before restart()"
            )
        initial = {name: x.clone() if name in summed else torch.zeros_like(x) for name, x in objects.items()}
        fresh = self.recalling(dict(state.recalled), state.object_ids, state.frozen)
        fresh.memory, fresh.objects, fresh.frame_size = deepcopy(state.memory), initial or None, state.frame_size
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
            state: State of the video, updated in place; unchanged if the frame fails.
            image: (3, H, W) float, normalised, on the network's device.
            mask: (H, W) integer label image of the same size, with new objects or a correction.
            object_ids: Ids that the mask annotates, known or new. A listed object that the mask does not show is absent
                on this frame. None: the ids that the mask shows, and with `complete` all known ids.
            permanent: Add this frame to memory and never evict or consolidate it.
            end: This is the last frame; memory will not be read any more.
            complete: The mask shows every object: one that is not painted is absent. Otherwise it keeps its prediction.
            absent: Known ids whose probability is set to 0 on this frame.

        Returns:
            Probabilities (O + 1, H, W), background first, then the objects in the order of `state.object_ids`. Before
            the first object is given, all pixels are background.

        Raises:
            UsageError: Image, mask or ids are not as described above, the video has ended, or the mask shows new
                objects but the memory is frozen.
            NonFiniteError: The probabilities are not finite.
        """
        _check_step(state, image, mask, object_ids, self.dtype)
        annotated = list(object_ids or ())
        if mask is not None and object_ids is None:
            annotated = annotated_ids(state.object_ids, torch.unique(mask).tolist(), complete)
        new = [value for value in annotated if value not in state.object_ids]
        known = state.object_ids + new
        if new and state.frozen:
            raise UsageError(f"the mask shows new objects {new}, but the memory is frozen: nothing is added to it")
        size = (image.shape[-2], image.shape[-1])
        if not known:
            state.frame_size, state.ended = size, end
            return image.new_ones(1, *size)
        padding = padding_for(*size)
        image = pad(image, padding, self.conventions.padding)[None]
        remember, every_object_given = bool(annotated) or permanent, set(known) == set(annotated)
        # Masks are added to memory even on the last frame, because the memory may be saved afterwards.
        ends, staggered = end and not remember, self.conventions.staggered_updates
        plan = plan_frame(state.clock, self.config, remember, every_object_given, ends, staggered)
        features = self.network.encode_image(image)
        objects = state.objects or self.network.empty_state(features)
        memory, prob = state.memory or self.new_memory(self.config, features), None
        if state.recalled:
            objects = self._restore(memory, objects, state)
        was_read = False
        try:
            if plan.segment and memory.objects:
                readouts, was_read = memory.read(features), True
                objects, odds, batch = self.network.segment(features, readouts, objects, plan.sensory_update)
                prob = batch[0]
                del odds, readouts  # as large as the probabilities: free them before the memory is updated
                if absent_slots := [slot for slot, known_id in enumerate(state.object_ids) if known_id in absent]:
                    prob = remove_objects(prob, absent_slots)
            if mask is not None and annotated:
                predicted = [slot for slot, value in enumerate(known) if value not in annotated]
                prob = _merge(prob, one_hot(pad(mask, padding), known).to(image), predicted)
            assert prob is not None, "a frame is segmented or given"
            # The sum is non-finite if any element is, and takes a fortieth of the time of an elementwise check.
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
        return prob[:, padding.top : padding.top + size[0], padding.left : padding.left + size[1]]

    def _restore(self, memory: Memory, objects: ObjectState, state: VideoState) -> ObjectState:
        """Load `state.recalled` into an empty memory and return the matching object state."""
        recalled = {name: x.to(next(iter(objects.values())).device) for name, x in state.recalled.items()}
        assert isinstance(memory, StorableMemory), "one of its kind was saved"
        memory.restore({name: x for name, x in recalled.items() if not name.startswith(SUMS)})
        sums = {name.removeprefix(SUMS): x for name, x in recalled.items() if name.startswith(SUMS)}
        for slot in state.removed:
            memory.remove(slot)
            sums = _without_object(sums, slot)
        return {**_with_objects(objects, len(state.object_ids)), **sums}

    def exported(self, state: VideoState) -> dict[str, Tensor]:
        """Return the memory of a state as tensors by name, to be saved or passed to `recalling`.

        Raises:
            UsageError: No object has been given yet, or this kind of memory cannot be saved.
        """
        if state.memory is None or state.objects is None:
            raise UsageError("there is no memory to save: no object has been given yet")
        if not isinstance(state.memory, StorableMemory):
            raise UsageError(f"a memory of kind {self.config.kind} cannot be saved: it lacks `exported`")
        sums = {f"{SUMS}{name}": state.objects[name].clone() for name in self.conventions.summed}
        return {**state.memory.exported(), **sums}

    def recalling(self, tensors: dict[str, Tensor], object_ids: Sequence[int], frozen: bool = False) -> VideoState:
        """Return the state of a new video that starts with the memory of another one.

        Args:
            tensors: The memory, as returned by `exported`.
            object_ids: Object id of each slot of that memory.
            frozen: Whether the memory stays read-only.
        """
        clock = Clock(t=int(bool(object_ids)))  # the frame with the masks has passed: the next one is segmented
        return VideoState(clock, list(object_ids), frozen=frozen, recalled=tensors)

    def rename(self, state: VideoState, object_id: int, new_id: int) -> None:
        """Change the id of an object.

        Raises:
            UsageError: There is no such object, or the new id is not positive or already in use.
        """
        if object_id not in state.object_ids:
            raise UsageError(f"there is no object {object_id} to rename; objects are {state.object_ids}")
        if new_id < 1 or new_id in state.object_ids:
            raise UsageError(f"object {object_id} cannot become {new_id}: ids are positive and differ")
        state.object_ids[state.object_ids.index(object_id)] = new_id

    def remove(self, state: VideoState, object_id: int) -> None:
        """Remove an object, from the next frame on. Removing the last object resets memory and frame counters.

        Raises:
            UsageError: There is no such object.
        """
        if object_id not in state.object_ids:
            raise UsageError(f"there is no object {object_id} to remove; objects are {state.object_ids}")
        slot = state.object_ids.index(object_id)
        state.object_ids = [other for other in state.object_ids if other != object_id]
        if not state.object_ids:
            state.clock, state.memory, state.objects = Clock(), None, None
            state.recalled, state.removed = {}, []
        elif state.objects is None or state.memory is None:
            state.removed.append(slot)
        else:
            state.objects = _without_object(state.objects, slot)
            state.memory.remove(slot)


def _without_object(state: ObjectState, slot: int) -> ObjectState:
    return {name: torch.cat([x[:, :slot], x[:, slot + 1 :]], 1) for name, x in state.items()}


def _with_objects(state: ObjectState, count: int) -> ObjectState:
    """Return the object state extended to `count` objects; new ones start at zero."""
    new = {name: x.new_zeros(x.shape[0], count - x.shape[1], *x.shape[2:]) for name, x in state.items()}
    return {name: torch.cat([x, new[name]], 1) for name, x in state.items()}


def _check_step(
    state: VideoState, image: Tensor, mask: Tensor | None, object_ids: Sequence[int] | None, dtype: torch.dtype
) -> None:
    """Raise UsageError for arguments that `Engine.step` cannot process, before anything changes."""
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


def _merge(prob: Tensor | None, masks: Tensor, predicted: list[int]) -> Tensor:
    """Overwrite predictions by given masks: covered pixels take the mask, objects not annotated keep the rest.

    prob: (O' + 1, H, W) of the objects known before this frame, or None. masks: (O, H, W), 0 or 1. predicted: slots of
    the objects that are not annotated; their channels of `masks` are ignored. Returns probabilities (O + 1, H, W).
    """
    if predicted:
        masks[predicted] = 0
        if prob is not None:
            masks[predicted] = prob[1:][predicted].masked_fill(masks.sum(0) > 0.5, 0)
    return aggregate(masks)
