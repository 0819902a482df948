"""Every variant compared with the eager network, and each optimisation with the code that it replaces."""

import copy
import shutil

import pytest
import torch
from torch import nn

from xmem_infer.config import MemoryConfig, Precision, configs_dir
from xmem_infer.engine.engine import Engine
from xmem_infer.errors import UsageError
from xmem_infer.model.blocks import JointConv2d
from xmem_infer.model.network import XMem
from xmem_infer.runtime.backends.graph_rewrites import (
    SHARED_OR_JOINED,
    SharedConv2d,
    fold_batch_norm,
    inner_products,
    replace_modules,
)
from xmem_infer.runtime.backends.onednn_fusion import can_fuse, fuse_convolutions
from xmem_infer.runtime.backends.prepare import BACKENDS, prepare
from xmem_infer.runtime.precision import HALF, x86_has_bf16

CPU = torch.device("cpu")
# Largest difference of probabilities from eager fp32: fp32 sums in another order, bf16 has 8 significant bits.
TOLERANCE = {Precision.fp32: 2e-5, Precision.bf16: 5e-2}


SLOW = ("compiled", "openvino")  # because they compile
VARIANTS = [pytest.param(name, marks=[pytest.mark.slow] * (name in SLOW)) for name in BACKENDS.names()]


def settled(network):
    """Return a copy whose batch norms have non-trivial statistics, so that folding them changes weights."""
    network = copy.deepcopy(network)
    generator = torch.Generator().manual_seed(3)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            for statistic in (module.running_mean, module.bias.data):
                statistic.copy_(0.1 * torch.randn(statistic.shape, generator=generator))
            for factor in (module.running_var, module.weight.data):
                factor.copy_(0.5 + torch.rand(factor.shape, generator=generator))
    return network.eval()


def probabilities(prepared, make_clip, objects=3, frames=6):
    """Return the probabilities of a clip: (frames, objects + 1, H, W)."""
    images, masks = make_clip(frames, 64, 96, objects, 1)
    engine = Engine(prepared.network, MemoryConfig(memory_every=2))
    state = engine.start()
    found = []
    for t, image in enumerate(images):
        x = torch.from_numpy(image).permute(2, 0, 1).float() / 255 - 0.5
        with torch.no_grad(), prepared.context():
            found.append(engine.step(state, x, torch.from_numpy(masks[t]) if t == 0 else None))
    return torch.stack(found)


@pytest.mark.parametrize("precision", TOLERANCE)
@pytest.mark.parametrize("variant", VARIANTS)
def test_every_variant_follows_eager_fp32(variant, precision, tiny_network, make_clip, request):
    if variant == "compiled" and shutil.which("g++") is None:
        pytest.skip("torch.compile needs a C++ compiler")
    if variant == "openvino":
        if precision is Precision.bf16 and not x86_has_bf16():
            pytest.skip("needs a CPU that computes in bf16")
        request.getfixturevalue("openvino_models")
    network = settled(tiny_network)
    expected = probabilities(prepare(network, CPU), make_clip)
    found = probabilities(prepare(network, CPU, precision, variant), make_clip)
    assert found.dtype == torch.float32
    assert (found - expected).abs().max() < TOLERANCE[precision]


@pytest.mark.parametrize(("precision", "dtype"), [(Precision.fp32, torch.float32), (Precision.bf16, torch.bfloat16)])
def test_fast_uses_fused_blocks_if_supported(precision, dtype, tiny_network):
    active = prepare(tiny_network, CPU, precision, "fast").active
    assert any("oneDNN" in words for words in active) == can_fuse(dtype)


def test_every_variant_has_a_config():
    names = {path.stem for path in (configs_dir() / "runtime").glob("*.yaml")}
    assert names == {"default", *BACKENDS.names()}


@pytest.mark.parametrize("variant", VARIANTS)
def test_preparing_does_not_change_the_network(variant, tiny_network, request):
    if variant == "openvino":
        request.getfixturevalue("openvino_models")
    network = copy.deepcopy(tiny_network)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    prepared = prepare(network, CPU, Precision.fp32 if variant == "openvino" else Precision.bf16, variant)
    after = network.state_dict()
    assert after.keys() == before.keys()
    assert all(torch.equal(after[name], value) for name, value in before.items())
    assert prepared.active


@pytest.mark.parametrize("variant", ["eager", "fast"])
@pytest.mark.parametrize("hidden", [True, False])
def test_objects_in_chunks_equal_objects_at_once(variant, hidden, tiny_network, make_clip):
    network = tiny_network
    if not hidden:
        torch.manual_seed(0)
        sizes = copy.deepcopy(network.sizes)
        object.__setattr__(sizes, "hidden_dim", 0)
        network = XMem(sizes).eval()
    at_once, in_chunks = (
        probabilities(prepare(network, CPU, Precision.fp32, variant, count), make_clip, objects=5) for count in (8, 2)
    )
    torch.testing.assert_close(in_chunks, at_once, atol=1e-5, rtol=0)


def test_folding_leaves_no_batch_norm_and_the_same_features(tiny_network):
    network = settled(tiny_network)
    folded = copy.deepcopy(network)
    fold_batch_norm(folded)
    assert not any(isinstance(module, nn.BatchNorm2d) for module in folded.modules())
    image = torch.randn(1, 3, 64, 96)
    with torch.no_grad():
        for found, expected in zip(folded.encode_image(image), network.encode_image(image), strict=True):
            torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize(("videos", "objects"), [(1, 1), (1, 3), (2, 3)])
def test_a_shared_convolution_equals_the_joint_one(bias, videos, objects):
    torch.manual_seed(0)
    joint = JointConv2d(6, 4, 5, 3, stride=2, padding=1, bias=bias).double()
    shared, own = torch.randn(videos, 6, 9, 11).double(), torch.randn(videos * objects, 4, 9, 11).double()
    torch.testing.assert_close(SharedConv2d(joint)(shared, own), joint(shared, own))
    laid_out = SharedConv2d(joint.to(memory_format=torch.channels_last))
    found = laid_out(*(x.contiguous(memory_format=torch.channels_last) for x in (shared, own)))
    assert found.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.fault("compilation without a C++ compiler", "error says that a compiler is needed")
def test_compiling_without_a_compiler_is_refused(tiny_network, monkeypatch):
    monkeypatch.setenv("PATH", "")
    with pytest.raises(UsageError, match=r"C\+\+ compiler"):
        prepare(tiny_network, CPU, Precision.fp32, "compiled")


def test_joined_projections_equal_the_three_separate_ones(tiny_network):
    joined = copy.deepcopy(tiny_network).double()
    plain = joined.key_projection
    replace_modules(joined, SHARED_OR_JOINED)
    f16 = torch.randn(1, 32, 4, 6).double()
    for found, expected in zip(joined.key_projection(f16), plain(f16), strict=True):
        torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("shape", [(1, 5, 7, 9), (3, 400, 40, 30), (2, 4, 1, 1), (0, 4, 3, 3)])
def test_a_convolution_to_one_channel_by_inner_products(shape, bias):
    torch.manual_seed(0)
    conv, x = nn.Conv2d(shape[1], 1, 3, padding=1, bias=bias).double(), torch.randn(shape).double()
    by_products = inner_products(conv)
    for memory_format in (torch.contiguous_format, torch.channels_last):
        torch.testing.assert_close(by_products(x.contiguous(memory_format=memory_format)), conv(x))


@pytest.mark.parametrize("precision", TOLERANCE)
def test_logits_are_computed_in_float32(precision, tiny_network):
    """Their weights are rounded like all others, which changes masks no more than the noise of bf16 does."""
    by_products = prepare(copy.deepcopy(tiny_network), CPU, precision, "fast").network.decoder.prediction
    conv = copy.deepcopy(tiny_network.decoder.prediction).to(HALF.get(precision, torch.float32)).float()
    x = torch.randn(2, conv.in_channels, 6, 8).bfloat16()
    assert isinstance(by_products, nn.Sequential)
    with torch.no_grad():
        torch.testing.assert_close(by_products(x), conv(x.float()))


@pytest.mark.skipif(not can_fuse(torch.float32), reason="this torch has no fused convolutions")
@pytest.mark.parametrize("objects", [1, 3])
def test_fused_blocks_equal_the_plain_ones(objects, tiny_network):
    plain = settled(tiny_network)
    fold_batch_norm(plain)
    replace_modules(plain, SHARED_OR_JOINED)
    plain = plain.requires_grad_(False).to(memory_format=torch.channels_last)
    fused = copy.deepcopy(plain)
    assert fuse_convolutions(fused)
    kinds = {type(module).__name__ for module in fused.modules()}
    assert {"FusedResidual", "FusedResBlock", "FusedSharedConv2d"} <= kinds
    assert not kinds & {"BasicBlock", "ResBlock"}
    for size in ((64, 96), (32, 48), (64, 96)):  # weights are packed again for each size
        _compare(plain, fused, objects, *size)


def _compare(plain, fused, objects, height, width):
    image, masks = torch.randn(1, 3, height, width), torch.rand(1, objects, height, width)
    found = []
    for network in (plain, fused):
        features = network.encode_image(image)
        state = {"sensory": torch.zeros(1, objects, 8, height // 16, width // 16)}
        value, state = network.encode_memory(image, features, state, masks, True)
        state, odds, prob = network.segment(features, [value], state, True)
        found.append((*features, value, state["sensory"], odds, prob))
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other, atol=1e-4, rtol=1e-4)
