"""Cutie: pixel encoder, mask encoder, pixel fuser, object transformer, mask decoder.

Shapes: B videos of equal size, O objects each. The state of each object is passed in and returned: its sensory state,
its summaries (the sums from which its queries are initialised), and its mask on the last frame at stride 16.
"""

from functools import partial
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...ops.images import MEAN, STD, STRIDE
from ...ops.masks import aggregate_logits
from ..blocks import RecurrentCell, Trunk, in_chunks, infinity_to_nan, per_object, upsample
from ..decoder import Decoder
from ..family import Conventions, ObjectState
from ..network import KeyProjection, ValueEncoder
from .object_transformer import ChannelAttentionBlock, ObjectSummarizer, ObjectTransformer
from .sizes import CutieSizes

SENSORY = "sensory"
SUMMARIES = "summaries"
LAST_MASK = "last_mask"


class CutieFeatures(NamedTuple):
    """Features of an image: key, shrinkage, selection, pixel features (stride 16), trunk features (strides 8 and 4)."""

    key: Tensor  # (B, C_k, h, w)
    shrinkage: Tensor  # (B, 1, h, w), >= 1
    selection: Tensor  # (B, C_k, h, w), in (0, 1)
    pixels: Tensor  # (B, C, h, w)
    f8: Tensor
    f4: Tensor


class ReducedKeyProjection(nn.Module):
    """Stride-16 features -> key, shrinkage, selection, after a 1x1 convolution that reduces the channels."""

    def __init__(self, in_channels: int, channels: int, key_dim: int):
        super().__init__()
        self.reduce = nn.Conv2d(in_channels, channels, 1)
        self.project = KeyProjection(channels, key_dim)

    def forward(self, f16: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        return self.project(self.reduce(f16))


class PixelFusion(nn.Module):
    """Fuse pixel features, shared by all objects, with features of each object: projections, sum, two blocks."""

    def __init__(self, channels: int):
        super().__init__()
        self.shared = nn.Conv2d(channels, channels, 1)
        self.own = nn.Conv2d(channels, channels, 1)
        self.block1 = ChannelAttentionBlock(channels)
        self.block2 = ChannelAttentionBlock(channels)

    def forward(self, pixels: Tensor, own: Tensor) -> Tensor:
        """pixels (B, C, h, w), own (B * O, C, h, w) -> (B * O, C, h, w)."""
        shared = per_object(self.shared(pixels), own.shape[0] // pixels.shape[0])
        return self.block2(self.block1(shared + self.own(own)))


class PixelFuser(nn.Module):
    """Fuse the readout of the objects of one bucket with pixel features, their sensory state and their last masks."""

    def __init__(self, channels: int):
        super().__init__()
        self.compress = nn.Conv2d(channels + 2, channels, 1)
        self.fusion = PixelFusion(channels)

    def forward(self, pixels: Tensor, readout: Tensor, sensory: Tensor, last_mask: Tensor) -> Tensor:
        """readout and sensory (B, O, C, h, w), last_mask (B, O, h, w) -> (B, O, C, h, w)."""
        state = torch.cat([sensory, _with_others(last_mask)], 2).flatten(0, 1)
        own = readout.flatten(0, 1) + self.compress(state)
        return self.fusion(pixels, own).unflatten(0, (-1, readout.shape[1]))


class Cutie(nn.Module):
    """The whole network, see `family.Network` and `PreparableNetwork`.

    Its object state is `sensory` (B, O, C, h, w), `summaries` (B, O, queries, C + 1) and `last_mask` (B, O, h, w).
    """

    conventions = Conventions(
        memory="per_bucket",
        padding=tuple(-mean / std for mean, std in zip(MEAN, STD, strict=True)),  # black: Cutie pads, then normalises
        antialias=True,
        enlarge=False,
        mask_resize="nearest-exact",
        staggered_updates=True,
        summed=(SUMMARIES,),
    )

    def __init__(self, sizes: CutieSizes | None = None):
        super().__init__()
        self.sizes = sizes or CutieSizes()
        f16, channels = self.sizes.pixel_trunk.channels[2], self.sizes.channels
        self.pixel_encoder = Trunk(self.sizes.pixel_trunk, in_channels=3)
        self.pixel_projection = nn.Conv2d(f16, channels, 1)
        self.key_projection = ReducedKeyProjection(f16, channels, self.sizes.key_dim)
        self.mask_encoder = ValueEncoder(
            Trunk(self.sizes.mask_trunk, in_channels=3, own_channels=2),
            PixelFusion(channels),
            RecurrentCell(channels, channels),
        )
        self.object_summarizer = ObjectSummarizer(self.sizes)
        self.pixel_fuser = PixelFuser(channels)
        self.object_transformer = ObjectTransformer(self.sizes)
        decoder = channels, *self.sizes.decoder
        self.mask_decoder = Decoder(None, self.sizes.pixel_trunk.channels, decoder, 1, channels, channels)
        self.objects_at_once: int | None = None

    def encode_image(self, image: Tensor) -> CutieFeatures:
        f4, f8, f16 = self.pixel_encoder(image)
        key, shrinkage, selection = self.key_projection(f16)
        return CutieFeatures(key, shrinkage, selection, self.pixel_projection(f16), f8, f4)

    def empty_state(self, features: CutieFeatures) -> ObjectState:
        batch, _, height, width = features.key.shape
        new, channels = features.key.new_zeros, self.sizes.channels
        return {
            SENSORY: new(batch, 0, channels, height, width),
            SUMMARIES: new(batch, 0, self.sizes.queries, channels + 1),
            LAST_MASK: new(batch, 0, height, width),
        }

    def encode_memory(
        self, image: Tensor, features: CutieFeatures, state: ObjectState, masks: Tensor, deep_update: bool
    ) -> tuple[Tensor, ObjectState]:
        # Chunks do not change the result: an object depends on the others only through their masks.
        encode = partial(self.mask_encoder, image, features.pixels, deep_update=deep_update)
        value, sensory = in_chunks(self.objects_at_once, encode, state[SENSORY], _with_others(masks))
        small = F.avg_pool2d(masks, STRIDE)
        sums = self.object_summarizer(value.flatten(0, 1), small.flatten(0, 1)).unflatten(0, small.shape[:2])
        return value, {SENSORY: sensory, SUMMARIES: state[SUMMARIES] + sums, LAST_MASK: small}

    def segment(
        self, features: CutieFeatures, readouts: list[Tensor], state: ObjectState, update_state: bool
    ) -> tuple[ObjectState, Tensor, Tensor]:
        return self.aggregate(*self.decode(features, readouts, state, update_state))

    def decode(
        self, features: CutieFeatures, readouts: list[Tensor], state: ObjectState, update_state: bool
    ) -> tuple[ObjectState, Tensor]:
        readout = self._object_readout(features, readouts, state)
        decode = partial(self.mask_decoder, features, update_sensory=update_state)
        sensory, logits = in_chunks(self.objects_at_once, decode, readout, state[SENSORY])
        return {**state, SENSORY: sensory}, logits

    def aggregate(self, state: ObjectState, logits: Tensor) -> tuple[ObjectState, Tensor, Tensor]:
        odds = upsample(aggregate_logits(infinity_to_nan(logits))[0], 4)
        prob = odds.softmax(1)
        return {**state, LAST_MASK: F.avg_pool2d(prob[:, 1:], STRIDE)}, odds, prob

    def _object_readout(self, features: CutieFeatures, readouts: list[Tensor], state: ObjectState) -> Tensor:
        """Compute the object readout (B, O, C, h, w) bucket by bucket.

        Objects of a bucket interact here, so processing a bucket in chunks would change the result.
        """
        object_readouts, counts = [], [readout.shape[1] for readout in readouts]
        states = (state[name].split(counts, 1) for name in (SENSORY, LAST_MASK, SUMMARIES))
        for readout, sensory, last_mask, summaries in zip(readouts, *states, strict=True):
            fused = self.pixel_fuser(features.pixels, readout, sensory, last_mask)
            object_readouts.append(self.object_transformer(fused, summaries))
        return torch.cat(object_readouts, 1)

    def float32_parts(self) -> list[nn.Module]:
        # These compute keys, logits of masks, and sums over whole images and videos.
        return [
            self.key_projection.project,
            self.mask_decoder.prediction,
            self.object_summarizer.features,
            self.object_summarizer.weights,
            self.object_transformer.mask_prediction,
        ]

    def cast_points(self) -> list[nn.Module]:
        # The recurrent cells combine their gates in the state's float32.
        return [
            self.pixel_encoder,
            self.mask_encoder.trunk,
            self.pixel_fuser.compress,
            self.key_projection.project,
            self.mask_decoder.prediction,
            *(cell.transform for cell in self.modules() if isinstance(cell, RecurrentCell)),
        ]

    def process_in_chunks(self, count: int) -> None:
        self.objects_at_once = count


def _with_others(masks: Tensor) -> Tensor:
    """Stack each object's mask with the sum of the others', clamped to [0, 1]: (B, O, H, W) -> (B, O, 2, H, W)."""
    others = (masks.sum(1, keepdim=True) - masks).clamp(0, 1)
    return torch.stack([masks, others], 2)
