"""Narrower decoders that imitate a trained one."""

import copy
import json

import pytest
import torch
from commands import ROOT, in_process
from lab.training.small_pack import write_pack

from xmem_infer.lab.training.config import Stage
from xmem_infer.lab.training.pack import decode_pack
from xmem_infer.lab.training.slimming import slim_network
from xmem_infer.model.sizes import sizes_of
from xmem_infer.weights.build import load_network

STAGE = Stage(until=1, size=64, frames=3, batch=2, real=0.5)


@pytest.fixture(scope="module")
def tar(tmp_path_factory):
    return write_pack(tmp_path_factory.mktemp("pack") / "train.tar")


def slimmed(network, tar, width, samples=0):
    return slim_network(network, width, [decode_pack(tar, tar.parent)], samples, 0, STAGE)


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


def test_without_fewer_channels_nothing_changes(tiny_network, tar):
    for own, expected in zip(decoded(slimmed(tiny_network, tar, 32)), decoded(tiny_network), strict=True):
        torch.testing.assert_close(own, expected)


def test_channels_without_effect_are_those_that_go(tiny_network, tar):
    network = copy.deepcopy(tiny_network)
    with torch.no_grad():
        network.decoder.up8.res.conv1.weight[:, ::4] = 0
        network.decoder.up8.skip.bias += 3  # larger than zero after ReLU
    narrow = slimmed(network, tar, 24)
    kept = torch.isin(network.decoder.up8.skip.bias, narrow.decoder.up8.skip.bias).view(8, 4)
    assert kept[:, 1:].all() and not kept[:, 0].any()


def test_the_narrower_decoder_learns_to_imitate(tiny_network, tar):
    before, after = slimmed(tiny_network, tar, 20), slimmed(tiny_network, tar, 20, samples=120)
    assert sizes_of({name: tuple(x.shape) for name, x in after.state_dict().items()}) == after.sizes
    for first, last, expected in zip(decoded(before), decoded(after), decoded(tiny_network), strict=True):
        assert (last - expected).square().mean() < (first - expected).square().mean() / 2
    assert torch.equal(after.key_projection.key.weight, tiny_network.key_projection.key.weight)


def slim_weights(folder, tar, width):
    return in_process(
        "slim_weights.py", "weights/xmem-tiny-1.safetensors", str(folder / "out.safetensors"), "--packs", str(tar),
        "--cache", str(folder), "--width", width, "--samples", "3", cwd=ROOT,
    )  # fmt: skip


@pytest.mark.parametrize("width", ["64", "129"])
def test_impossible_widths_are_refused(width, tmp_path):
    done = slim_weights(tmp_path, "no.tar", width)
    assert done.returncode == 2 and "from 65 to 128 is possible" in done.stderr


@pytest.mark.slow
def test_the_script_writes_a_file_that_loads(tmp_path, tar):
    done = slim_weights(tmp_path, tar, "96")
    assert done.returncode == 0, done.stderr
    loaded = load_network(tmp_path / "out.safetensors")
    assert loaded.network.sizes.decoder == (96, 64, 32) and json.loads(loaded.metadata["slimmed"])["width"] == 96
