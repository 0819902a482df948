"""XMem (ECCV 2022, arXiv 2207.07115): key encoder, value encoder, and the whole network.

Shapes: B videos of equal size, O objects each. Sensory memory is passed in and returned as a tensor; the modules
themselves keep no state.
"""

from collections import OrderedDict
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor, nn

from ..ops.masks import aggregate_logits
from .blocks import FeatureFusion, RecurrentCell, Trunk, at_least_float32, in_chunks, infinity_to_nan, upsample
from .decoder import Decoder
from .family import Conventions, ObjectState
from .mobile_trunk import MobileTrunk
from .sizes import MobileTrunkSizes, NetworkSizes

SENSORY = "sensory"


class KeyFeatures(NamedTuple):
    """Output of the key encoder for one image: key, shrinkage, selection, and image features by stride, (1, C, ...)."""

    key: Tensor  # (1, C_k, h, w)
    shrinkage: Tensor  # (1, 1, h, w), >= 1
    selection: Tensor  # (1, C_k, h, w), in (0, 1)
    f16: Tensor
    f8: Tensor
    f4: Tensor


class KeyProjection(nn.Module):
    """Stride-16 features -> key, shrinkage, selection (paper section 3.2)."""

    def __init__(self, channels: int, key_dim: int):
        super().__init__()
        self.key = nn.Conv2d(channels, key_dim, 3, padding=1)
        self.shrinkage = nn.Conv2d(channels, 1, 3, padding=1)
        self.selection = nn.Conv2d(channels, key_dim, 3, padding=1)

    def forward(self, f16: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return at least float32, because keys are compared by squared distances."""
        convs = (self.key, self.shrinkage, self.selection)
        key, shrinkage, selection = (at_least_float32(conv(f16)) for conv in convs)
        return key, shrinkage.square() + 1, selection.sigmoid()


class ValueEncoder(nn.Module):
    """Image and masks -> value of each object, and its sensory state after the deep update."""

    def __init__(self, trunk: Trunk, fusion: nn.Module, deep_update: RecurrentCell | None):
        super().__init__()
        self.trunk, self.fusion, self.deep_update = trunk, fusion, deep_update

    def forward(
        self, image: Tensor, f16: Tensor, sensory: Tensor, masks: Tensor, deep_update: bool
    ) -> tuple[Tensor, Tensor]:
        """Return value and sensory state, (B, O, C, h, w) each.

        f16: (B, C, h, w), image features.
        masks: (B, O, 2, H, W), for each object its own mask and the sum of the other objects' masks.
        """
        objects = masks.shape[1]
        _, _, g16 = self.trunk(image, masks.flatten(0, 1))
        value = self.fusion(f16, g16)
        if deep_update and self.deep_update is not None:
            sensory = self.deep_update(value, sensory.flatten(0, 1)).unflatten(0, (-1, objects))
        return value.unflatten(0, (-1, objects)), sensory


class XMem(nn.Module):
    """The whole network, see `Network` and `PreparableNetwork`. Its object state is `sensory` (B, O, C_h, h, w)."""

    conventions = Conventions()

    def __init__(self, sizes: NetworkSizes | None = None):
        super().__init__()
        self.sizes = sizes = sizes or NetworkSizes()
        f16, g16, value_dim = sizes.key_trunk.channels[2], sizes.value_trunk.channels[2], sizes.value_dim
        key_trunk = sizes.key_trunk
        trunk = MobileTrunk(key_trunk, 3) if isinstance(key_trunk, MobileTrunkSizes) else Trunk(key_trunk, 3)
        self.key_encoder = nn.Sequential(OrderedDict(trunk=trunk))  # image -> features at strides 4, 8, 16
        self.key_projection = KeyProjection(f16, sizes.key_dim)
        self.value_encoder = ValueEncoder(
            Trunk(sizes.value_trunk, in_channels=3, own_channels=2),
            FeatureFusion(f16, g16, value_dim, sizes.skip_kernel),
            RecurrentCell(value_dim, sizes.hidden_dim) if sizes.hidden_dim else None,
        )
        self.decoder = Decoder(
            FeatureFusion(f16, value_dim + sizes.hidden_dim, sizes.decoder[0], sizes.skip_kernel),
            sizes.key_trunk.channels,
            sizes.decoder,
            sizes.skip_kernel,
            sizes.sensory_dim,
            sizes.hidden_dim,
        )
        self.objects_at_once: int | None = None

    def encode_image(self, image: Tensor) -> KeyFeatures:
        f4, f8, f16 = self.key_encoder(image)
        key, shrinkage, selection = self.key_projection(f16)
        return KeyFeatures(key, shrinkage, selection, f16, f8, f4)

    def empty_state(self, features: KeyFeatures) -> ObjectState:
        batch, _, height, width = features.key.shape
        return {SENSORY: features.key.new_zeros(batch, 0, self.sizes.hidden_dim, height, width)}

    def encode_memory(
        self, image: Tensor, features: KeyFeatures, state: ObjectState, masks: Tensor, deep_update: bool
    ) -> tuple[Tensor, ObjectState]:
        both = torch.stack([masks, masks.sum(1, keepdim=True) - masks], 2)
        # Chunks do not change the result: an object depends on the others only through their masks.
        encode = partial(self.value_encoder, image, features.f16, deep_update=deep_update)
        value, sensory = in_chunks(self.objects_at_once, encode, state[SENSORY], both)
        return value, {SENSORY: sensory}

    def segment(
        self, features: KeyFeatures, readouts: list[Tensor], state: ObjectState, update_state: bool
    ) -> tuple[ObjectState, Tensor, Tensor]:
        return self.aggregate(*self.decode(features, readouts, state, update_state))

    def decode(
        self, features: KeyFeatures, readouts: list[Tensor], state: ObjectState, update_state: bool
    ) -> tuple[ObjectState, Tensor]:
        readout = readouts[0] if len(readouts) == 1 else torch.cat(readouts, 1)
        # Chunks do not change the result: objects interact only afterwards, in soft aggregation.
        decode = partial(self.decoder, features, update_sensory=update_state)
        sensory, logits = in_chunks(self.objects_at_once, decode, readout, state[SENSORY])
        return {SENSORY: sensory}, logits

    def aggregate(self, state: ObjectState, logits: Tensor) -> tuple[ObjectState, Tensor, Tensor]:
        return state, *aggregate_logits(upsample(infinity_to_nan(logits), 4))

    def float32_parts(self) -> list[nn.Module]:
        # Keys are compared by squared distances, and the sign of logits near zero decides a pixel.
        return [self.key_projection, self.decoder.prediction]

    def cast_points(self) -> list[nn.Module]:
        # The recurrent cells combine their gates in the state's float32.
        gates = [cell.transform for cell in self.modules() if isinstance(cell, RecurrentCell)]
        fusion = self.get_submodule("decoder.fusion")
        return [self.key_encoder, self.value_encoder.trunk, fusion, *self.float32_parts(), *gates]

    def process_in_chunks(self, count: int) -> None:
        self.objects_at_once = count
