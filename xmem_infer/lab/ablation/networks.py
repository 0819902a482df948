"""Work of child processes: create the documents' networks, and measure what a forward pass leaves in memory."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from enum import Enum
from time import perf_counter

import torch
from torch import nn

from ...config import GradMode
from ...model.network import XMem
from ...runtime.contexts import grad_mode
from ..child import Send
from ..resident import ceiling
from .config import DocumentsConfig
from .tensor_bytes import TensorBytes

CPU = torch.device("cpu")


class Subject(Enum):
    xmem = "the network at its published sizes"
    linear = "a sequence of Linear layers"


class Creation(Enum):
    default = "with initial numbers drawn by torch"
    disable_torch_init = "with the fifth document's disable_torch_init"
    meta = "on the meta device, loaded with assign=True"


def create(subject: Subject, creation: Creation, ceiling_bytes: int, send: Send) -> None:
    """Create a network in one of the ways, load given tensors into it, and send `created`.

    Its fields: seconds, peak bytes of new tensors, whether all parameters require gradients, and the share of
    parameters that `disabled_init` leaves uninitialised.
    """
    build = XMem if subject is Subject.xmem else _linear_layers
    contexts: dict[Creation, AbstractContextManager[object]] = {
        Creation.default: nullcontext(),
        Creation.disable_torch_init: disabled_init(),
        Creation.meta: torch.device("meta"),
    }
    with ceiling(ceiling_bytes):
        with torch.device("meta"):
            state = {name: torch.ones_like(value, device=CPU) for name, value in build().state_dict().items()}
        counter = TensorBytes(CPU)
        with counter.counting():
            started = perf_counter()
            with contexts[creation]:
                network = build()
            network.load_state_dict(state, assign=creation is Creation.meta)
            seconds = perf_counter() - started
        trained = all(parameter.requires_grad for parameter in network.parameters())
        share = _skipped_share(network)
        send("created", seconds=seconds, peak_bytes=counter.peak, requires_grad=trained, skipped_share=share)


def _linear_layers() -> nn.Module:
    """Return layers of 200 MB, about as large as the published network."""
    return nn.Sequential(*(nn.Linear(2048, 2048) for _ in range(12)))


def _skipped_share(network: nn.Module) -> float:
    """Return the share of the parameters that `disabled_init` leaves uninitialised."""
    touched = (nn.Linear, nn.LayerNorm)
    numbers = [p.numel() for layer in network.modules() if isinstance(layer, touched) for p in layer.parameters()]
    return sum(numbers) / sum(p.numel() for p in network.parameters())


@contextmanager
def disabled_init() -> Iterator[None]:
    """Disable the initialisation of Linear and LayerNorm inside the block: the document's `disable_torch_init`."""
    originals = nn.Linear.reset_parameters, nn.LayerNorm.reset_parameters
    nn.Linear.reset_parameters = nn.LayerNorm.reset_parameters = lambda self: None  # type: ignore[method-assign, assignment]
    try:
        yield
    finally:
        nn.Linear.reset_parameters, nn.LayerNorm.reset_parameters = originals  # type: ignore[method-assign]


def linear_forward(sizes: DocumentsConfig, mode: GradMode, ceiling_bytes: int, send: Send) -> None:
    """Run one forward pass of Linear(features, hidden) - ReLU - Linear(hidden, features) on ones (rows, features).

    Sends `linear`: bytes held afterwards (output and graph), peak, bytes of the output.
    """
    with ceiling(ceiling_bytes):
        with torch.device("meta"):
            layers = nn.Linear(sizes.features, sizes.hidden), nn.Linear(sizes.hidden, sizes.features)
        network = nn.Sequential(layers[0], nn.ReLU(), layers[1]).to_empty(device=CPU)
        for parameter in network.parameters():
            nn.init.constant_(parameter, 0.001)  # drawing 500 million random numbers takes longer than the forward pass
        x = torch.ones(sizes.rows, sizes.features, requires_grad=True)
        counter = TensorBytes(CPU)
        with grad_mode(mode), counter.counting():
            y = network(x)
        send("linear", held_bytes=counter.held, peak_bytes=counter.peak, output_bytes=y.nbytes)
