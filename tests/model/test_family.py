"""The network family of docs/new-family.md, registered by a plugin and run by the unchanged engine."""

import re
from pathlib import Path

import pytest
import torch

from xmem_infer.config import MemoryConfig
from xmem_infer.engine.engine import Engine
from xmem_infer.errors import UsageError, WeightsError
from xmem_infer.model.family import FAMILIES
from xmem_infer.runtime.backends.prepare import prepare
from xmem_infer.weights.build import build_network

PAGE = Path(__file__).resolve().parents[2] / "docs" / "new-family.md"


@pytest.fixture
def toy_family(monkeypatch):
    monkeypatch.setattr(FAMILIES, "_entries", dict(FAMILIES._entries))
    (block,) = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    exec(compile(block, str(PAGE), "exec"), names := {"__name__": "toy"})
    return names


@pytest.fixture
def weights():
    return {"colour.weight": torch.eye(3)[:, :, None, None], "colour.bias": torch.zeros(3)}


@pytest.mark.parametrize("backend", ["eager", "fast"])
def test_a_registered_family_segments(toy_family, weights, backend):
    prepared = prepare(build_network(weights, Path("toy")), torch.device("cpu"), backend=backend)
    engine = Engine(prepared.network, MemoryConfig(memory_every=1, top_k=1))
    state, mask = engine.start(), torch.zeros(32, 48, dtype=torch.uint8)
    mask[:16, :16], mask[16:, 32:] = 5, 9
    image = torch.zeros(3, 32, 48)
    image[0, :16, :16], image[1, 16:, 32:] = 9.0, 9.0
    with torch.no_grad(), prepared.context():
        engine.step(state, image, mask)
        moved = engine.step(state, image.roll((16, 16), (1, 2)))
        assert torch.equal(moved.argmax(0), torch.from_numpy(slots(mask)).roll((16, 16), (0, 1)))
        assert state.objects["count"].tolist() == [[2, 2]]
        engine.remove(state, 5)
        assert {name: x.shape[1] for name, x in state.objects.items()} == {"count": 1, "last": 1}
        late = torch.zeros_like(mask)
        late[:16, 16:32] = 3
        engine.step(state, image, late)
    assert state.object_ids == [9, 3]
    assert state.objects["count"].tolist() == [[3, 1]]


def slots(mask):
    return (1 * (mask == 5) + 2 * (mask == 9)).numpy()


def test_the_family_is_detected_from_checkpoint_entries(toy_family, weights):
    Toy = toy_family["Toy"]
    assert isinstance(build_network(weights, Path("toy")), Toy)
    assert isinstance(build_network(weights, Path("toy"), "toy"), Toy)
    with pytest.raises(UsageError, match=r"network=to: there is no such network family; did you mean toy\?"):
        build_network(weights, Path("toy"), "to")
    with pytest.raises(WeightsError, match=r"colour.bias"):
        build_network({"colour.weight": weights["colour.weight"]}, Path("toy"))
