"""A network family added from outside: the engine runs it without knowing what it carries."""

from pathlib import Path
from typing import NamedTuple

import pytest
import torch
from torch import Tensor, nn

from xmem_infer.config import MemoryConfig
from xmem_infer.engine.engine import Engine
from xmem_infer.errors import UsageError, WeightsError
from xmem_infer.model.family import FAMILIES, Conventions
from xmem_infer.ops.masks import aggregate_logits
from xmem_infer.runtime.backends.prepare import prepare
from xmem_infer.weights.build import build_network


class ToyFeatures(NamedTuple):
    key: Tensor
    shrinkage: Tensor
    selection: Tensor


class Toy(nn.Module):
    """Keys are mean colours, values are mean masks; carries a count of remembered frames and the last mask."""

    conventions = Conventions()

    def __init__(self):
        super().__init__()
        self.colour = nn.Conv2d(3, 3, 1)

    def encode_image(self, image):
        key = nn.functional.avg_pool2d(self.colour(image), 16)
        return ToyFeatures(key, torch.ones_like(key[:, :1]), torch.ones_like(key))

    def empty_state(self, features):
        height, width = features.key.shape[-2:]
        return {"count": features.key.new_zeros(1, 0), "last": features.key.new_zeros(1, 0, height, width)}

    def encode_memory(self, image, features, state, masks, deep_update):
        pooled = nn.functional.avg_pool2d(masks, 16)
        return pooled[:, :, None], {"count": state["count"] + 1, "last": pooled}

    def segment(self, features, readouts, state, update_state):
        read = torch.cat(readouts, 1)[:, :, 0]
        logits = nn.functional.interpolate(8 * read - 4, scale_factor=16)
        return {**state, "last": read}, *aggregate_logits(logits)

    def float32_parts(self):
        return []

    def cast_points(self):
        return [self.colour]

    def process_in_chunks(self, count):
        pass


class ToyFamily:
    def recognises(self, names):
        return any(name.startswith("colour.") for name in names)

    def own_tensors(self, tensors):
        return tensors

    def build(self, shapes):
        return Toy()


@pytest.fixture
def toy_family(monkeypatch):
    monkeypatch.setattr(FAMILIES, "_entries", dict(FAMILIES._entries))
    FAMILIES.register("toy")(ToyFamily())


@pytest.fixture
def weights():
    return {"colour.weight": torch.eye(3)[:, :, None, None], "colour.bias": torch.zeros(3)}


@pytest.mark.parametrize("backend", ["eager", "fast"])
def test_a_family_from_outside_segments(toy_family, weights, backend):
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


def test_the_family_is_told_by_the_files_entries(toy_family, weights):
    assert isinstance(build_network(weights, Path("toy")), Toy)
    assert isinstance(build_network(weights, Path("toy"), "toy"), Toy)
    with pytest.raises(UsageError, match=r"network=to: there is no such network family; did you mean toy\?"):
        build_network(weights, Path("toy"), "to")
    with pytest.raises(WeightsError, match=r"colour.bias"):
        build_network({"colour.weight": weights["colour.weight"]}, Path("toy"))
