"""The frame loop: one frame at a time, objects given, corrected or removed at any of them."""

import torch
from torch import Tensor

from ..config import MemoryConfig
from ..errors import UsageError
from ..memory.manager import Memory
from ..model.prepared import Prepared
from ..ops.images import pad, padding_for, unpad
from ..ops.masks import aggregate
from ..types import KeyFeatures
from .objects import GivenMask, take_mask
from .schedule import Clock, FramePlan, advance, plan_frame
from .state import VideoState


class Engine:
    """Steps a video through a prepared network. Holds nothing of the video: that is the VideoState's."""

    memory_class = Memory

    def __init__(self, network: Prepared, config: MemoryConfig):
        self.network = network
        self.config = config

    def start(self) -> VideoState:
        """The state of a video before its first frame."""
        return VideoState(Clock.start(self.config))

    def step(
        self,
        state: VideoState,
        image: Tensor,
        mask: Tensor | None = None,
        labels: list[int] | None = None,
        end: bool = False,
    ) -> Tensor:
        """Segment the next frame: probabilities (O + 1, H, W), background first, then slots as state.labels.

        image (3, H, W) normalised, on the network's device; mask (H, W) integer label image of the same
        size with new objects or a correction; labels: which of its labels to take (see `take_mask`); end:
        this is the last frame, nothing will be read from memory any more. Until an object is given every
        pixel is background.
        """
        self._check(state, image, mask)
        state.labels, given = take_mask(state.labels, mask, labels)
        if not state.labels:
            return image.new_ones(1, *image.shape[-2:])
        padding = padding_for(*image.shape[-2:])
        image = pad(image, padding)[None]
        plan = plan_frame(state.clock, self.config, given is not None, given is not None and given.every_object, end)
        features = self.network.encode_key(image)
        self._open_memory(state, features)
        prob = self._segment(state, features, plan) if plan.segment else None
        if given is not None:
            prob = _merge(prob, GivenMask(pad(given.masks.to(image), padding), given.taken))
        assert prob is not None, "a frame is segmented or given"
        self._welcome(state, features)
        if plan.memory_frame:
            self._remember(state, image, features, prob, plan)
        advance(state.clock, plan)
        return unpad(prob, padding)

    def remove(self, state: VideoState, label: int) -> None:
        """Forget an object: it is not segmented from the next frame on. After the last one all starts anew."""
        if label not in state.labels:
            raise UsageError(f"there is no object {label} to remove; objects are {state.labels}")
        slot = state.labels.index(label)
        state.labels = [other for other in state.labels if other != label]
        if state.sensory is None or state.memory is None:
            return
        if not state.labels:
            state.clock, state.memory, state.sensory = Clock.start(self.config), None, None
            return
        state.sensory = torch.cat([state.sensory[:, :slot], state.sensory[:, slot + 1 :]], 1)
        if slot < state.memory.objects:
            state.memory.remove(slot)

    def _check(self, state: VideoState, image: Tensor, mask: Tensor | None) -> None:
        size = (image.shape[-2], image.shape[-1])
        state.frame_size = state.frame_size or size
        if size != state.frame_size:
            raise UsageError(f"frame of {size} (H, W) in a video of {state.frame_size}: all must be of one size")
        if mask is not None and tuple(mask.shape) != size:
            raise UsageError(f"mask of {tuple(mask.shape)} (H, W) for a frame of {size}: they must be equal")

    def _open_memory(self, state: VideoState, features: KeyFeatures) -> None:
        if state.memory is None:
            sizes = self.network.sizes
            tokens = features.key.shape[-2] * features.key.shape[-1]
            state.memory = self.memory_class(self.config, sizes.key_dim, sizes.value_dim, tokens, features.key)
            state.sensory = features.key.new_zeros(1, 0, sizes.hidden_dim, *features.key.shape[-2:])

    def _segment(self, state: VideoState, features: KeyFeatures, plan: FramePlan) -> Tensor:
        """Probabilities (O + 1, H, W) of the objects in memory."""
        assert state.memory is not None and state.sensory is not None
        readout = state.memory.read(features)
        state.sensory, _, prob = self.network.segment(features, readout, state.sensory, plan.sensory_update)
        return prob[0]

    def _welcome(self, state: VideoState, features: KeyFeatures) -> None:
        """Zero sensory state for new objects."""
        assert state.sensory is not None
        new = len(state.labels) - state.sensory.shape[1]
        zeros = features.key.new_zeros(1, new, *state.sensory.shape[2:])
        state.sensory = torch.cat([state.sensory, zeros], 1) if new else state.sensory

    def _remember(self, state: VideoState, image: Tensor, features: KeyFeatures, prob: Tensor, plan: FramePlan) -> None:
        assert state.memory is not None and state.sensory is not None
        value, state.sensory = self.network.encode_value(
            image, features.f16, state.sensory, prob[None, 1:], plan.deep_update
        )
        state.memory.add(features, value)


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
