import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from xmem_infer.errors import WeightsError
from xmem_infer.model.network import XMem
from xmem_infer.model.published_names import from_published
from xmem_infer.model.sizes import NetworkSizes, sizes_of
from xmem_infer.weights.build import build_network, load_network

PUBLISHED = json.loads((Path(__file__).parents[1] / "data" / "parity" / "checkpoint_layout.json").read_text())


def test_names_are_a_bijection_over_all_entries():
    assert len(PUBLISHED) == 412
    ours = {from_published(name): name for name in PUBLISHED}
    assert len(ours) == 412
    with torch.device("meta"):
        network = XMem()
    assert ours.keys() == network.state_dict().keys()
    shapes = {ours[name]: list(value.shape) for name, value in network.state_dict().items()}
    assert shapes == PUBLISHED
    assert sum(p.numel() for p in network.parameters()) == pytest.approx(62.19e6, rel=1e-3)


@pytest.mark.parametrize(
    ("options", "hidden_dim"),
    [({}, 64), ({"hidden_dim": 0}, 0), ({"single_object": True}, 64)],
)
def test_published_variants_load_from_a_file(published_state, tmp_path, options, hidden_dim):
    state = published_state(seed=1, **options)
    path = tmp_path / "XMem.pth"
    torch.save(state, path)
    loaded = load_network(path)
    assert loaded.network.sizes == NetworkSizes(hidden_dim=hidden_dim)
    assert not loaded.network.training
    own = loaded.network.state_dict()
    for name, value in state.items():
        found = own[from_published(name)]
        if options.get("single_object") and name == "value_encoder.conv1.weight":
            assert not found[:, 4].any()
            found = found[:, :4]
        assert torch.equal(found, value), name


def test_sizes_are_derived_from_checkpoint_shapes(tiny_network, tiny_weights):
    shapes = {name: tuple(value.shape) for name, value in tiny_network.state_dict().items()}
    assert sizes_of(shapes) == tiny_network.sizes
    loaded = load_network(tiny_weights)
    assert loaded.network.sizes == tiny_network.sizes
    own, found = tiny_network.state_dict(), loaded.network.state_dict()
    assert own.keys() == found.keys()
    for name, value in own.items():
        assert torch.equal(found[name], value), name


def test_half_precision_files_become_float32(tiny_network, tmp_path):
    path = tmp_path / "half.safetensors"
    state = {name: value.contiguous() for name, value in tiny_network.state_dict().items()}
    save_file({k: v.half() if v.is_floating_point() else v for k, v in state.items()}, path)
    assert {p.dtype for p in load_network(path).network.parameters()} == {torch.float32}


def test_every_fault_is_listed_in_one_error(tiny_network):
    state = dict(tiny_network.state_dict())
    del state["decoder.prediction.bias"], state["key_projection.shrinkage.weight"]
    state["left.over"] = torch.zeros(1)
    state["decoder.prediction.weight"] = torch.zeros(2, 16, 3, 3)
    with pytest.raises(WeightsError) as caught:
        build_network(state, Path("file.pth"))
    for word in (
        "file.pth", "decoder.prediction.bias", "key_projection.shrinkage.weight", "left.over", "(2, 16, 3, 3)",
    ):  # fmt: skip
        assert word in str(caught.value)


def test_something_else_entirely_is_compared_with_the_published_network():
    with pytest.raises(WeightsError, match=r"conv\.weight"):
        build_network({"conv.weight": torch.zeros(1)}, Path("file.pth"))
