"""Cutie's sizes as data: the published base network is the default, the small one and others are other numbers."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from ..sizes import Shape, TrunkSizes, trunk_sizes


@dataclass(frozen=True)
class CutieSizes:
    """Everything that decides the shapes of the parameters.

    channels C: of pixel features, values, sensory state and queries alike; key_dim C_k; decoder: channels of p8, p4;
    queries per object, the first half of them for its foreground; feed_forward: width inside the transformer's blocks.
    """

    pixel_trunk: TrunkSizes = field(default_factory=lambda: TrunkSizes(True, (3, 4, 6), (64, 128, 256)))
    mask_trunk: TrunkSizes = field(default_factory=lambda: TrunkSizes(False, (2, 2, 2), (64, 128, 256)))
    channels: int = 256
    key_dim: int = 64
    decoder: tuple[int, int] = (128, 128)
    queries: int = 16
    blocks: int = 3
    feed_forward: int = 2048

    @property
    def value_dim(self) -> int:
        """C_v, as `NetworkSizes` calls it."""
        return self.channels


def sizes_of(shapes: Mapping[str, Shape]) -> CutieSizes:
    """Read the sizes off a checkpoint's shapes (in this package's names); KeyError names what is missing."""
    blocks = {name.split(".")[2] for name in shapes if name.startswith("object_transformer.blocks.")}
    return CutieSizes(
        pixel_trunk=trunk_sizes(shapes, "pixel_encoder."),
        mask_trunk=trunk_sizes(shapes, "mask_encoder.trunk."),
        channels=shapes["pixel_projection.weight"][0],
        key_dim=shapes["key_projection.project.key.weight"][0],
        decoder=(
            shapes["mask_decoder.up8.res.conv2.weight"][0],
            shapes["mask_decoder.up4.res.conv2.weight"][0],
        ),
        queries=shapes["object_transformer.query_init.weight"][0],
        blocks=len(blocks),
        feed_forward=shapes["object_transformer.blocks.0.linear1.weight"][0],
    )
