"""XMem (ECCV 2022, arXiv 2207.07115): key encoder, value encoder, decoder.

Shapes: B videos of equal size, O objects each. Sensory memory is passed in and returned as a tensor; the modules
themselves keep no state.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..ops.masks import aggregate_logits
from .blocks import FeatureFusion, RecurrentCell, ResBlock, Trunk, per_object
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


class KeyEncoder(nn.Module):
    """Image -> features at strides 4, 8, 16."""

    def __init__(self, sizes: NetworkSizes):
        super().__init__()
        kind = MobileTrunk if isinstance(sizes.key_trunk, MobileTrunkSizes) else Trunk
        self.trunk = kind(sizes.key_trunk, in_channels=3)  # type: ignore[arg-type]  # `kind` matches the type of its sizes

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        return self.trunk(image)


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


class UpBlock(nn.Module):
    """Upsample object features by 2, add the image features of the finer stride, and apply a residual block."""

    def __init__(self, skip: int, in_channels: int, out_channels: int, skip_kernel: int):
        super().__init__()
        self.skip = nn.Conv2d(skip, in_channels, skip_kernel, padding=skip_kernel // 2)
        self.res = ResBlock(in_channels, out_channels, skip_kernel)

    def forward(self, f: Tensor, g: Tensor, objects: int) -> Tensor:
        return self.res(upsample(g, 2) + per_object(self.skip(f), objects))


class SensoryUpdate(nn.Module):
    """Decoder features at three strides -> new sensory state (paper section 3.4)."""

    def __init__(self, decoder: tuple[int, int, int], sensory_dim: int, hidden_dim: int):
        super().__init__()
        self.g16 = nn.Conv2d(decoder[0], sensory_dim, 1)
        self.g8 = nn.Conv2d(decoder[1], sensory_dim, 1)
        self.g4 = nn.Conv2d(decoder[2] + 1, sensory_dim, 1)
        self.cell = RecurrentCell(sensory_dim, hidden_dim)

    def forward(self, g16: Tensor, g8: Tensor, g4: Tensor, logits: Tensor, sensory: Tensor) -> Tensor:
        # Pooling before concatenation gives the same result and copies a sixteenth of the elements.
        g4 = torch.cat([F.avg_pool2d(g4, 4), F.avg_pool2d(logits.to(g4.dtype), 4)], 1)
        g = self.g16(g16) + self.g8(F.avg_pool2d(g8, 2)) + self.g4(g4)
        return self.cell(g, sensory)


class Decoder(nn.Module):
    """Memory readout, sensory state and image features -> logits of each object at stride 4."""

    def __init__(
        self,
        fusion: FeatureFusion | None,
        image_channels: tuple[int, int, int],
        channels: tuple[int, int, int],
        skip_kernel: int,
        sensory_dim: int,
        hidden_dim: int,
    ):
        """Build the decoder; see `NetworkSizes`.

        fusion: Fuses readout and sensory state with image features; None if this was done before (Cutie).
        image_channels: Channels of f4, f8, f16. channels: Channels of g16, g8, g4.
        """
        super().__init__()
        f4, f8, _ = image_channels
        d16, d8, d4 = channels
        self.fusion = fusion
        self.up8 = UpBlock(f8, d16, d8, skip_kernel)
        self.up4 = UpBlock(f4, d8, d4, skip_kernel)
        self.prediction = nn.Conv2d(d4, 1, 3, padding=1)
        self.sensory_update = SensoryUpdate(channels, sensory_dim, hidden_dim) if hidden_dim else None

    def forward(self, features: Any, readout: Tensor, sensory: Tensor, update_sensory: bool) -> tuple[Tensor, Tensor]:
        """readout and sensory (B, O, C, h, w) -> sensory state, and logits (B, O, H / 4, W / 4)."""
        objects = readout.shape[1]
        g16 = readout.flatten(0, 1)
        if self.fusion is not None:
            g16 = self.fusion(features.f16, torch.cat([readout, sensory.to(readout.dtype)], 2).flatten(0, 1))
        g8 = self.up8(features.f8, g16, objects)
        g4 = self.up4(features.f4, g8, objects)
        logits = self.prediction(F.relu(g4))
        if update_sensory and self.sensory_update is not None:
            state = self.sensory_update(g16, g8, g4, logits, sensory.flatten(0, 1))
            sensory = state.unflatten(0, (-1, objects))
        return sensory, logits.unflatten(0, (-1, objects)).squeeze(2)


class XMem(nn.Module):
    """The whole network, an implementation of `family.Network`. Its object state is `sensory` (B, O, C_h, h, w)."""

    conventions = Conventions()

    def __init__(self, sizes: NetworkSizes | None = None):
        super().__init__()
        sizes = sizes or NetworkSizes()
        self.sizes = sizes
        f16, g16, value_dim = sizes.key_trunk.channels[2], sizes.value_trunk.channels[2], sizes.value_dim
        self.key_encoder = KeyEncoder(sizes)
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
        """Encode a normalised image (B, 3, H, W) with sides divisible by 16."""
        f4, f8, f16 = self.key_encoder(image)
        key, shrinkage, selection = self.key_projection(f16)
        return KeyFeatures(key, shrinkage, selection, f16, f8, f4)

    def empty_state(self, features: KeyFeatures) -> ObjectState:
        """Return the state of zero objects: sensory (B, 0, C_h, h, w)."""
        batch, _, height, width = features.key.shape
        return {SENSORY: features.key.new_zeros(batch, 0, self.sizes.hidden_dim, height, width)}

    def encode_memory(
        self, image: Tensor, features: KeyFeatures, state: ObjectState, masks: Tensor, deep_update: bool
    ) -> tuple[Tensor, ObjectState]:
        """Encode a memory frame; return its value (B, O, C_v, h, w) and the state, updated if `deep_update`.

        masks: (B, O, H, W) probabilities in [0, 1] without background.
        """
        others = masks.sum(1, keepdim=True) - masks
        both = torch.stack([masks, others], 2)
        # Chunks do not change the result: an object depends on the others only through their masks.
        encode = partial(self.value_encoder, image, features.f16, deep_update=deep_update)
        value, sensory = in_chunks(self.objects_at_once, encode, state[SENSORY], both)
        return value, {SENSORY: sensory}

    def segment(
        self, features: KeyFeatures, readouts: list[Tensor], state: ObjectState, update_state: bool
    ) -> tuple[ObjectState, Tensor, Tensor]:
        """Decode a frame; return the state, log-odds and probabilities (B, O + 1, H, W), background first.

        readouts: (B, objects, C_v, h, w) of each bucket. Probabilities are at least float32 and sum to 1.
        """
        return self.aggregate(*self.decode(features, readouts, state, update_state))

    def decode(
        self, features: KeyFeatures, readouts: list[Tensor], state: ObjectState, update_state: bool
    ) -> tuple[ObjectState, Tensor]:
        """Return the state and the logits of each object, (B, O, H / 4, W / 4)."""
        readout = readouts[0] if len(readouts) == 1 else torch.cat(readouts, 1)
        # Chunks do not change the result: objects interact only afterwards, in soft aggregation.
        decode = partial(self.decoder, features, update_sensory=update_state)
        sensory, logits = in_chunks(self.objects_at_once, decode, readout, state[SENSORY])
        return {SENSORY: sensory}, logits

    def aggregate(self, state: ObjectState, logits: Tensor) -> tuple[ObjectState, Tensor, Tensor]:
        """Turn the results of `decode` into those of `segment`."""
        return state, *aggregate_logits(upsample(infinity_to_nan(logits), 4))

    def float32_parts(self) -> list[nn.Module]:
        """Return the projection of keys, which are compared by squared distances, and of logits.

        The sign of logits near zero decides a pixel.
        """
        return [self.key_projection, self.decoder.prediction]

    def cast_points(self) -> list[nn.Module]:
        """Return the modules that receive inputs of another precision.

        These include the recurrent cells' convolutions; the cells combine their gates in the state's float32.
        """
        gates = [cell.transform for cell in self.modules() if isinstance(cell, RecurrentCell)]
        fusion = self.get_submodule("decoder.fusion")
        return [self.key_encoder, self.value_encoder.trunk, fusion, *self.float32_parts(), *gates]

    def process_in_chunks(self, count: int) -> None:
        """Pass at most `count` objects at once through value encoder and decoder: less memory, the same result."""
        self.objects_at_once = count


def in_chunks(
    count: int | None, function: Callable[..., tuple[Tensor, Tensor]], *parts: Tensor
) -> tuple[Tensor, Tensor]:
    """Call a function with at most `count` objects (axis 1; None: all) at once; return its concatenated results."""
    chunks = zip(*(x.split(count or x.shape[1], 1) for x in parts), strict=True)
    first, second = zip(*(function(*chunk) for chunk in chunks), strict=True)
    return (first[0], second[0]) if len(first) == 1 else (torch.cat(first, 1), torch.cat(second, 1))


def upsample(x: Tensor, factor: int) -> Tensor:
    """Upsample bilinearly by an integer factor, with align_corners=False."""
    return F.interpolate(x, scale_factor=factor, mode="bilinear", align_corners=False)


def infinity_to_nan(logits: Tensor) -> Tensor:
    """Return logits in float32 or float64, with NaN for infinity, which would give a valid-looking probability."""
    logits = at_least_float32(logits)
    return logits.masked_fill(logits.isinf(), torch.nan)


def at_least_float32(x: Tensor) -> Tensor:
    """Cast half precision to float32; return other dtypes unchanged."""
    return x.float() if x.dtype in (torch.float16, torch.bfloat16) else x
