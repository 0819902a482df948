"""In the child: ways to make a network, with and without initial numbers that are overwritten anyway."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from time import perf_counter

import torch
from torch import Tensor, nn

from ...model.network import XMem
from ...weights.build import build_network
from ...weights.files import read_checkpoint
from ..child import Tell
from ..resident import ceiling
from .tensor_bytes import TensorBytes

LINEAR_LAYERS, LINEAR_WIDTH = 12, 2048  # 200 MB: about as large as the published network


class Subject(Enum):
    xmem = "the network of a checkpoint"
    linear = "a pile of Linear layers"


class Way(Enum):
    default = "as torch does"
    disable_torch_init = "the fifth document's"
    meta = "on the meta device, loaded with assign=True"


@dataclass
class CreateRequest:
    """Make a network in one of the ways and fill it with given tensors."""

    subject: Subject
    way: Way
    weights: Path
    threads: int | None
    ceiling_bytes: int


def create(request: CreateRequest, tell: Tell) -> None:
    """Make the network; tell `created`: seconds, peak of new tensors, share of parameters `disabled_init` concerns."""
    with ceiling(request.ceiling_bytes):
        make, state = _maker_and_tensors(request)
        counter = TensorBytes(torch.device("cpu"))
        with counter.counting():
            started = perf_counter()
            with _context(request.way):
                network = make()
            network.load_state_dict(state, assign=request.way is Way.meta)
            seconds = perf_counter() - started
        tell(
            "created",
            seconds=seconds,
            peak_bytes=counter.peak,
            requires_grad=all(parameter.requires_grad for parameter in network.parameters()),
            skipped_share=_skipped_share(network),
        )


def _maker_and_tensors(request: CreateRequest) -> tuple[Callable[[], nn.Module], dict[str, Tensor]]:
    """How the network is made, and the tensors it is to have, both ready before the clock starts."""
    if request.subject is Subject.xmem:
        built = build_network(read_checkpoint(request.weights).tensors, request.weights)
        assert isinstance(built, XMem), "the ablation of creation is of the XMem family"
        sizes = built.sizes
        return lambda: XMem(sizes), built.state_dict()
    layers = [nn.Linear(LINEAR_WIDTH, LINEAR_WIDTH, device="meta") for _ in range(LINEAR_LAYERS)]
    state = {name: torch.full(value.shape, 0.01) for name, value in nn.Sequential(*layers).state_dict().items()}
    return lambda: nn.Sequential(*(nn.Linear(LINEAR_WIDTH, LINEAR_WIDTH) for _ in range(LINEAR_LAYERS))), state


def _context(way: Way) -> AbstractContextManager[object]:
    if way is Way.meta:
        return torch.device("meta")
    return disabled_init() if way is Way.disable_torch_init else nullcontext()


def _skipped_share(network: nn.Module) -> float:
    """Share of the parameters whose initial numbers `disabled_init` leaves undrawn."""
    touched = (nn.Linear, nn.LayerNorm)
    numbers = [p.numel() for layer in network.modules() if isinstance(layer, touched) for p in layer.parameters()]
    return sum(numbers) / sum(p.numel() for p in network.parameters())


@contextmanager
def disabled_init() -> Iterator[None]:
    """The document's `disable_torch_init`: Linear and LayerNorm do not draw initial numbers; undone on leaving."""
    kept = nn.Linear.reset_parameters, nn.LayerNorm.reset_parameters
    nn.Linear.reset_parameters = nn.LayerNorm.reset_parameters = lambda self: None  # type: ignore[method-assign, assignment]
    try:
        yield
    finally:
        nn.Linear.reset_parameters, nn.LayerNorm.reset_parameters = kept  # type: ignore[method-assign]
