"""The network's sizes as data: the published network is the default, a smaller one is other numbers."""

from collections.abc import Mapping
from dataclasses import dataclass, field

Shape = tuple[int, ...]


@dataclass(frozen=True)
class TrunkSizes:
    """A ResNet's stem and first three stages. widths: planes of each stage; the stem has widths[0] channels."""

    bottleneck: bool
    blocks: tuple[int, int, int]
    widths: tuple[int, int, int]

    @property
    def channels(self) -> tuple[int, int, int]:
        """Output channels at strides 4, 8, 16."""
        expansion = 4 if self.bottleneck else 1
        first, second, third = self.widths
        return first * expansion, second * expansion, third * expansion


@dataclass(frozen=True)
class NetworkSizes:
    """Everything that decides the shapes of the parameters.

    key_dim C_k, value_dim C_v, hidden_dim C_h (0: no sensory memory); decoder: channels of g16, g8, g4;
    sensory_dim: channels in which the decoder's features are summed before the recurrent cell;
    skip_kernel: side of the convolutions on skip connections (3 in the published network).
    """

    key_trunk: TrunkSizes = field(default_factory=lambda: TrunkSizes(True, (3, 4, 6), (64, 128, 256)))
    value_trunk: TrunkSizes = field(default_factory=lambda: TrunkSizes(False, (2, 2, 2), (64, 128, 256)))
    key_dim: int = 64
    value_dim: int = 512
    hidden_dim: int = 64
    decoder: tuple[int, int, int] = (512, 256, 256)
    sensory_dim: int = 256
    skip_kernel: int = 3


def sizes_of(shapes: Mapping[str, Shape]) -> NetworkSizes:
    """Read the sizes off a checkpoint's shapes (in this package's names); KeyError names what is missing."""
    cell = shapes.get("decoder.sensory_update.cell.transform.weight")
    return NetworkSizes(
        key_trunk=trunk_sizes(shapes, "key_encoder.trunk."),
        value_trunk=trunk_sizes(shapes, "value_encoder.trunk."),
        key_dim=shapes["key_projection.key.weight"][0],
        value_dim=shapes["value_encoder.fusion.res2.conv2.weight"][0],
        hidden_dim=cell[0] // 3 if cell else 0,
        decoder=(
            shapes["decoder.fusion.res2.conv2.weight"][0],
            shapes["decoder.up8.res.conv2.weight"][0],
            shapes["decoder.up4.res.conv2.weight"][0],
        ),
        sensory_dim=shapes["decoder.sensory_update.g16.weight"][0] if cell else NetworkSizes.sensory_dim,
        skip_kernel=shapes["decoder.up8.skip.weight"][2],
    )


def trunk_sizes(shapes: Mapping[str, Shape], prefix: str) -> TrunkSizes:
    """Sizes of the trunk whose entries begin with `prefix`."""
    blocks, widths = [], []
    for layer in ("layer1", "layer2", "layer3"):
        inside = [name.removeprefix(prefix) for name in shapes if name.startswith(f"{prefix}{layer}.")]
        blocks.append(len({name.split(".")[1] for name in inside}))
        widths.append(shapes[f"{prefix}{layer}.0.conv1.weight"][0])
    bottleneck = f"{prefix}layer1.0.conv3.weight" in shapes
    return TrunkSizes(bottleneck, (blocks[0], blocks[1], blocks[2]), (widths[0], widths[1], widths[2]))
