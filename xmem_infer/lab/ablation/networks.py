"""In the child: making the documents' networks, and what a forward of one leaves in memory."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from enum import Enum
from time import perf_counter

import torch
from torch import nn

from ...config import GradMode
from ...model.network import XMem
from ...runtime.grad_mode import grad_mode
from ..child import Tell
from ..resident import ceiling
from .tensor_bytes import TensorBytes

CPU = torch.device("cpu")


class Subject(Enum):
    xmem = "the network at its published sizes"
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
    ceiling_bytes: int


@dataclass
class LinearRequest:
    """One forward of Linear(features, hidden) - ReLU - Linear(hidden, features) on ones (rows, features)."""

    features: int
    hidden: int
    rows: int
    grad_mode: GradMode
    ceiling_bytes: int


def create(request: CreateRequest, tell: Tell) -> None:
    """Make the network; tell `created`: seconds, peak of new tensors, share of parameters `disabled_init` concerns."""
    make = XMem if request.subject is Subject.xmem else _linear_layers
    ways: dict[Way, AbstractContextManager[object]] = {
        Way.default: nullcontext(), Way.disable_torch_init: disabled_init(), Way.meta: torch.device("meta"),
    }  # fmt: skip
    with ceiling(request.ceiling_bytes):
        with torch.device("meta"):
            state = {name: torch.ones_like(value, device=CPU) for name, value in make().state_dict().items()}
        counter = TensorBytes(CPU)
        with counter.counting():
            started = perf_counter()
            with ways[request.way]:
                network = make()
            network.load_state_dict(state, assign=request.way is Way.meta)
            seconds = perf_counter() - started
        trained = all(parameter.requires_grad for parameter in network.parameters())
        share = _skipped_share(network)
        tell("created", seconds=seconds, peak_bytes=counter.peak, requires_grad=trained, skipped_share=share)


def _linear_layers() -> nn.Module:
    """200 MB: about as large as the published network."""
    return nn.Sequential(*(nn.Linear(2048, 2048) for _ in range(12)))


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


def linear_forward(request: LinearRequest, tell: Tell) -> None:
    """One forward; tell `linear`: the bytes it leaves (output and graph), its peak, its output alone."""
    with ceiling(request.ceiling_bytes):
        with torch.device("meta"):
            layers = nn.Linear(request.features, request.hidden), nn.Linear(request.hidden, request.features)
        network = nn.Sequential(layers[0], nn.ReLU(), layers[1]).to_empty(device=CPU)
        for parameter in network.parameters():
            nn.init.constant_(parameter, 0.001)  # drawing 500 million random numbers would take longer than the forward
        x = torch.ones(request.rows, request.features, requires_grad=True)
        counter = TensorBytes(CPU)
        with grad_mode(request.grad_mode), counter.counting():
            y = network(x)
        tell("linear", held_bytes=counter.held, peak_bytes=counter.peak, output_bytes=y.nbytes)
