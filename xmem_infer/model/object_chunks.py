"""Objects in chunks: activations are held for a few of them at a time, with the same result."""

from typing import Any

import torch
from torch import Tensor, nn


class ChunkedDecoder(nn.Module):
    """`Decoder` over chunks of at most `count` objects; objects meet only afterwards, in soft aggregation."""

    def __init__(self, decoder: nn.Module, count: int):
        super().__init__()
        self.decoder, self.count = decoder, count

    def forward(self, features: Any, readout: Tensor, sensory: Tensor, update_sensory: bool) -> tuple[Tensor, Tensor]:
        """As `Decoder.forward`."""
        chunks = zip(readout.split(self.count, 1), sensory.split(self.count, 1), strict=True)
        return _concatenate([self.decoder(features, *chunk, update_sensory) for chunk in chunks])


class ChunkedValueEncoder(nn.Module):
    """`ValueEncoder` over chunks of at most `count` objects; what an object sees of the others is in its masks."""

    def __init__(self, encoder: nn.Module, count: int):
        super().__init__()
        self.encoder, self.count = encoder, count

    def forward(
        self, image: Tensor, f16: Tensor, sensory: Tensor, masks: Tensor, deep_update: bool
    ) -> tuple[Tensor, Tensor]:
        """As `ValueEncoder.forward`."""
        chunks = zip(sensory.split(self.count, 1), masks.split(self.count, 1), strict=True)
        return _concatenate([self.encoder(image, f16, *chunk, deep_update) for chunk in chunks])


def _concatenate(chunks: list[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
    if len(chunks) == 1:
        return chunks[0]
    first, second = zip(*chunks, strict=True)
    return torch.cat(first, 1), torch.cat(second, 1)
