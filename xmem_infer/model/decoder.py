"""The decoder of XMem and Cutie: memory readout, sensory state and image features -> logits of each object."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .blocks import FeatureFusion, RecurrentCell, ResBlock, per_object, upsample


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
        image_channels: tuple[int, ...],
        channels: tuple[int, int, int],
        skip_kernel: int,
        sensory_dim: int,
        hidden_dim: int,
    ):
        """Build the decoder for image features f4, f8, f16 and its own features g16, g8, g4; see `NetworkSizes`.

        fusion: Fuses readout and sensory state with image features; None if this was done before (Cutie).
        """
        super().__init__()
        (f4, f8, _), (d16, d8, d4) = image_channels, channels
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
