"""Sizes of the XMem network. The defaults are those of the published network; smaller networks use other values."""

from collections.abc import Mapping
from dataclasses import dataclass

Shape = tuple[int, ...]


@dataclass(frozen=True)
class TrunkSizes:
    """A ResNet's stem and first three stages. widths: planes of each stage; the stem has widths[0] channels."""

    bottleneck: bool
    blocks: tuple[int, ...]
    widths: tuple[int, ...]

    @property
    def channels(self) -> tuple[int, ...]:
        """Output channels at strides 4, 8, 16."""
        return tuple(4 * width if self.bottleneck else width for width in self.widths)


RESNET50 = TrunkSizes(True, (3, 4, 6), (64, 128, 256))
RESNET18 = TrunkSizes(False, (2, 2, 2), (64, 128, 256))


@dataclass(frozen=True)
class MobileBlock:
    """Sizes of an inverted residual: kernel size and channels of its depthwise convolution, and output channels."""

    kernel_size: int
    hidden: int
    channels: int


def efficientnet_lite(*counts: int) -> tuple[tuple[MobileBlock, ...], ...]:
    """Return an EfficientNet-Lite's layers up to stride 16. counts: blocks in its stages 2-5, (2, 2, 3, 3) in Lite0."""
    stages, before = [], 16
    for count, side, channels in zip(counts, (3, 5, 3, 5), (24, 40, 80, 112), strict=True):
        rest = (MobileBlock(side, 6 * channels, channels),) * (count - 1)
        stages.append((MobileBlock(side, 6 * before, channels), *rest))
        before = channels
    return stages[0], stages[1], stages[2] + stages[3]


@dataclass(frozen=True)
class MobileTrunkSizes:
    """Sizes of a trunk of inverted residuals up to stride 16. The defaults are EfficientNet-Lite0's.

    stem: channels of its first convolution and of its output. layers: blocks for strides 4, 8 and 16; the first block
    of each layer has a stride of 2. channels: output channels at strides 4, 8, 16.
    """

    stem: tuple[int, int] = (32, 16)
    layers: tuple[tuple[MobileBlock, ...], ...] = efficientnet_lite(2, 2, 3, 3)
    channels: tuple[int, ...] = (32, 64, 128)


@dataclass(frozen=True)
class NetworkSizes:
    """All sizes that determine the shapes of the parameters.

    key_dim: C_k. value_dim: C_v. hidden_dim: C_h, 0 without sensory memory. decoder: channels of g16, g8, g4.
    sensory_dim: channels of the decoder features that are summed as input of the recurrent cell. skip_kernel: kernel
    size of the convolutions on skip connections (3 in the published network).
    """

    key_trunk: TrunkSizes | MobileTrunkSizes = RESNET50
    value_trunk: TrunkSizes = RESNET18
    key_dim: int = 64
    value_dim: int = 512
    hidden_dim: int = 64
    decoder: tuple[int, int, int] = (512, 256, 256)
    sensory_dim: int = 256
    skip_kernel: int = 3


def sizes_of(shapes: Mapping[str, Shape]) -> NetworkSizes:
    """Infer the sizes from the shapes of a checkpoint in this package's names. Raises KeyError for a missing entry."""
    cell = shapes.get("decoder.sensory_update.cell.transform.weight")
    return NetworkSizes(
        key_trunk=_key_trunk_sizes(shapes, "key_encoder.trunk."),
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


def _key_trunk_sizes(shapes: Mapping[str, Shape], prefix: str) -> TrunkSizes | MobileTrunkSizes:
    if f"{prefix}stem.conv.weight" not in shapes:
        return trunk_sizes(shapes, prefix)
    stem = shapes[f"{prefix}stem.conv.weight"][0], shapes[f"{prefix}stem.project.weight"][0]
    layers = []
    for layer in (f"{prefix}layer{number}." for number in (1, 2, 3)):
        blocks = range(_block_count(shapes, layer))
        layers.append(tuple(_mobile_block(shapes, f"{layer}{block}.") for block in blocks))
    channels = tuple(shapes[f"{prefix}read{stride}.weight"][0] for stride in (4, 8, 16))
    return MobileTrunkSizes(stem, tuple(layers), channels)


def _mobile_block(shapes: Mapping[str, Shape], prefix: str) -> MobileBlock:
    hidden, _, side, _ = shapes[f"{prefix}depthwise.weight"]
    return MobileBlock(side, hidden, shapes[f"{prefix}project.weight"][0])


def _block_count(shapes: Mapping[str, Shape], layer: str) -> int:
    return len({name.removeprefix(layer).split(".")[0] for name in shapes if name.startswith(layer)})


def trunk_sizes(shapes: Mapping[str, Shape], prefix: str) -> TrunkSizes:
    """Infer the sizes of the ResNet trunk whose entry names start with `prefix`."""
    layers = [f"{prefix}layer{number}." for number in (1, 2, 3)]
    blocks = tuple(_block_count(shapes, layer) for layer in layers)
    widths = tuple(shapes[f"{layer}0.conv1.weight"][0] for layer in layers)
    return TrunkSizes(f"{layers[0]}0.conv3.weight" in shapes, blocks, widths)
