"""More objects than fit, processed in turns: activations are held for a few of them at a time."""

import torch
from torch import Tensor, nn

from ...model.network import XMem
from ...types import KeyFeatures


class DecoderInTurns(nn.Module):
    """`Decoder` over groups of `count` objects; objects meet only afterwards, in soft aggregation."""

    def __init__(self, decoder: nn.Module, count: int):
        super().__init__()
        self.decoder, self.count = decoder, count

    def forward(
        self, features: KeyFeatures, readout: Tensor, sensory: Tensor, update_sensory: bool
    ) -> tuple[Tensor, Tensor]:
        """As `Decoder.forward`."""
        parts = zip(readout.split(self.count, 1), sensory.split(self.count, 1), strict=True)
        return _joined([self.decoder(features, *part, update_sensory) for part in parts])


class ValueEncoderInTurns(nn.Module):
    """`ValueEncoder` over groups of `count` objects; what an object sees of the others is in its masks."""

    def __init__(self, encoder: nn.Module, count: int):
        super().__init__()
        self.encoder, self.count = encoder, count

    def forward(
        self, image: Tensor, f16: Tensor, sensory: Tensor, masks: Tensor, deep_update: bool
    ) -> tuple[Tensor, Tensor]:
        """As `ValueEncoder.forward`."""
        parts = zip(sensory.split(self.count, 1), masks.split(self.count, 1), strict=True)
        return _joined([self.encoder(image, f16, *part, deep_update) for part in parts])


def take_turns(network: XMem, count: int) -> None:
    """In place: value encoder and decoder see at most `count` objects at once."""
    network.decoder = DecoderInTurns(network.decoder, count)  # type: ignore[assignment]
    network.value_encoder = ValueEncoderInTurns(network.value_encoder, count)  # type: ignore[assignment]


def _joined(parts: list[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
    if len(parts) == 1:
        return parts[0]
    first, second = zip(*parts, strict=True)
    return torch.cat(first, 1), torch.cat(second, 1)
