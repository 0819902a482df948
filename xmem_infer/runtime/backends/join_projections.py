"""Compute key, shrinkage and selection in one convolution: alone, shrinkage's single channel takes as long as 64."""

import torch
from torch import Tensor, nn

from ...model.network import KeyProjection, at_least_float32


class JoinedProjection(nn.Module):
    """A `KeyProjection` whose three convolutions are merged into one."""

    def __init__(self, plain: KeyProjection):
        super().__init__()
        parts = (plain.key, plain.shrinkage, plain.selection)
        self.channels = [part.out_channels for part in parts]
        first = plain.key
        # On the meta device, because initialising weights would advance the caller's random number generator.
        self.conv = nn.Conv2d(first.in_channels, sum(self.channels), 3, padding=1, device="meta")
        self.conv.weight = nn.Parameter(torch.cat([part.weight.detach() for part in parts]), requires_grad=False)
        self.conv.bias = nn.Parameter(torch.cat([_bias(part) for part in parts]), requires_grad=False)

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


def _bias(conv: nn.Conv2d) -> Tensor:
    assert conv.bias is not None
    return conv.bias.detach()
