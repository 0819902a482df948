"""Compute key, shrinkage and selection in one convolution: alone, shrinkage's single channel takes as long as 64."""

import torch
from torch import Tensor, nn

from ...model.blocks import at_least_float32
from ...model.network import KeyProjection
from .share_image_features import convolution_like


class JoinedProjection(nn.Module):
    """A `KeyProjection` whose three convolutions are merged into one."""

    def __init__(self, plain: KeyProjection):
        super().__init__()
        parts = (plain.key, plain.shrinkage, plain.selection)
        self.channels = [part.out_channels for part in parts]
        bias = torch.cat([part.bias for part in parts if part.bias is not None])
        self.conv = convolution_like(plain.key, torch.cat([part.weight for part in parts]), bias)

    def forward(self, f16: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """See `KeyProjection.forward`."""
        key, shrinkage, selection = at_least_float32(self.conv(f16)).split(self.channels, 1)
        return key, shrinkage.square() + 1, selection.sigmoid()


def join_projections(network: nn.Module) -> None:
    """Replace every `KeyProjection` by a `JoinedProjection`, in place."""
    for module in list(network.modules()):
        for name, child in module.named_children():
            if isinstance(child, KeyProjection):
                setattr(module, name, JoinedProjection(child))
