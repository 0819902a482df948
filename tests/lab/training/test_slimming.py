"""Narrower decoders that imitate a trained one."""

import copy
import json
from dataclasses import replace

import pytest
import torch
from commands import ROOT, in_process
from lab.training.small_pack import write_pack

from xmem_infer.lab.training.config import Stage
from xmem_infer.lab.training.pack import decode_pack
from xmem_infer.lab.training.slimming import slim_network
from xmem_infer.model.network import XMem
from xmem_infer.model.sizes import sizes_of
from xmem_infer.weights.build import load_network


@pytest.fixture(scope="module")
def tar(tmp_path_factory):
    return write_pack(tmp_path_factory.mktemp("pack") / "train.tar")


@pytest.fixture(scope="module")
def network(tiny_network):
    """A small network with a convolution on each skip connection of its decoder."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return XMem(replace(tiny_network.sizes, decoder=(32, 16, 8))).eval()


def slimmed(network, tar, widths, samples=0):
    stage = Stage(until=samples, size=64, frames=3, batch=2, real=0.5)
    return slim_network(network, widths, [decode_pack(tar, tar.parent)], [stage], 0)


def decoded(network):
    """The sensory state and the logits of a drawn frame."""
    generator = torch.Generator().manual_seed(1)
    image, mask = torch.randn(1, 3, 64, 64, generator=generator), torch.rand(1, 1, 64, 64, generator=generator)
    with torch.no_grad():
        features = network.encode_image(image)
        state = {"sensory": torch.zeros(1, 1, 8, 4, 4)}
        value, state = network.encode_memory(image, features, state, mask, True)
        state, logits = network.decode(features, [value], state, True)
    return state["sensory"], logits


def test_without_fewer_channels_nothing_changes(network, tar):
    for own, expected in zip(decoded(slimmed(network, tar, (32, 16))), decoded(network), strict=True):
        torch.testing.assert_close(own, expected)


@pytest.mark.parametrize(("block", "widths"), [("up8", (24, 16)), ("up4", (32, 12))])
def test_channels_without_effect_are_those_that_go(block, widths, network, tar):
    network = copy.deepcopy(network)
    with torch.no_grad():
        network.decoder.get_submodule(block).res.conv1.weight[:, ::4] = 0
        network.decoder.get_submodule(block).skip.bias += 3  # larger than zero after ReLU
    narrow = slimmed(network, tar, widths)
    biases = [each.decoder.get_submodule(block).skip.bias for each in (network, narrow)]
    kept = torch.isin(*biases).view(-1, 4)
    assert kept[:, 1:].all() and not kept[:, 0].any()


def test_the_narrower_decoder_learns_to_imitate(network, tar):
    before, after = slimmed(network, tar, (20, 12)), slimmed(network, tar, (20, 12), samples=120)
    assert sizes_of({name: tuple(x.shape) for name, x in after.state_dict().items()}) == after.sizes
    for first, last, expected in zip(decoded(before), decoded(after), decoded(network), strict=True):
        assert (last - expected).square().mean() < (first - expected).square().mean() / 2
    assert torch.equal(after.key_projection.key.weight, network.key_projection.key.weight)


def slim_weights(folder, tar, *widths):
    return in_process(
        "slim_weights.py", "weights/xmem-tiny-1.safetensors", str(folder / "out.safetensors"), "--packs", str(tar),
        "--cache", str(folder), "--widths", *widths, "--samples", "3", cwd=ROOT,
    )  # fmt: skip


@pytest.mark.parametrize("widths", [("64", "64"), ("129", "64"), ("96", "65"), ("96", "32")])
def test_impossible_widths_are_refused(widths, tmp_path):
    done = slim_weights(tmp_path, "no.tar", *widths)
    assert done.returncode == 2 and "at stride 8, from 33 to 64 is possible; at stride 16, more than" in done.stderr


@pytest.mark.slow
def test_the_script_writes_a_file_that_loads(tmp_path, tar):
    done = slim_weights(tmp_path, tar, "96", "48")
    assert done.returncode == 0, done.stderr
    loaded = load_network(tmp_path / "out.safetensors")
    assert loaded.network.sizes.decoder == (96, 48, 32) and json.loads(loaded.metadata["slimmed"])["widths"] == [96, 48]
