"""Sizes of the Cutie network. The defaults are those of the published base network; others use other values."""

from collections.abc import Mapping
from dataclasses import dataclass

from ..sizes import RESNET18, RESNET50, Shape, TrunkSizes, trunk_sizes


@dataclass(frozen=True)
class CutieSizes:
    """All sizes that determine the shapes of the parameters.

    channels: C, of pixel features, values, sensory state and queries. key_dim: C_k. decoder: channels of p8, p4.
    queries: per object, the first half for its foreground. blocks: transformer blocks. feed_forward: width of their
    feed-forward layers.
    """

    pixel_trunk: TrunkSizes = RESNET50
    mask_trunk: TrunkSizes = RESNET18
    channels: int = 256
    key_dim: int = 64
    decoder: tuple[int, int] = (128, 128)
    queries: int = 16
    blocks: int = 3
    feed_forward: int = 2048

    @property
    def value_dim(self) -> int:
        """C_v, under the name that `NetworkSizes` uses."""
        return self.channels


def sizes_of(shapes: Mapping[str, Shape]) -> CutieSizes:
    """Infer the sizes from the shapes of a checkpoint in this package's names. Raises KeyError for a missing entry."""
    blocks = {name.split(".")[2] for name in shapes if name.startswith("object_transformer.blocks.")}
    return CutieSizes(
        pixel_trunk=trunk_sizes(shapes, "pixel_encoder."),
        mask_trunk=trunk_sizes(shapes, "mask_encoder.trunk."),
        channels=shapes["pixel_projection.weight"][0],
        key_dim=shapes["key_projection.project.key.weight"][0],
        decoder=(shapes["mask_decoder.up8.res.conv2.weight"][0], shapes["mask_decoder.up4.res.conv2.weight"][0]),
        queries=shapes["object_transformer.query_init.weight"][0],
        blocks=len(blocks),
        feed_forward=shapes["object_transformer.blocks.0.linear1.weight"][0],
    )
