"""In the child: ways to make a network, with and without initial numbers that are overwritten anyway."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from time import perf_counter

import torch
from torch import Tensor, nn

from ...model.network import XMem
from ...weights.build import build_network
from ...weights.files import read_checkpoint
from ..resident import ceiling, peak_resident_bytes, resident_bytes, restart_peak
from .requests import CreateRequest
from .tensor_bytes import TensorBytes

Tell = Callable[..., None]
Maker = Callable[[], nn.Module]

LINEAR_LAYERS, LINEAR_WIDTH = 12, 2048  # 200 MB: about as large as the published network


def create(request: CreateRequest, tell: Tell) -> None:
    """Make `what` by `way` and fill it with given tensors; tell `created`: seconds, tensor and resident peaks."""
    with ceiling(request.ceiling_bytes):
        maker, state = _subject(request)
        before = resident_bytes()
        restart_peak()
        counter = TensorBytes(torch.device("cpu"))
        with counter.counting():
            started = perf_counter()
            network = _fill(_create(maker, request.way), state, assign=request.way == "meta")
            seconds = perf_counter() - started
        tell(
            "created",
            seconds=seconds,
            peak_bytes=counter.peak,
            held_bytes=counter.held,
            resident_growth_bytes=peak_resident_bytes() - before,
            requires_grad=all(parameter.requires_grad for parameter in network.parameters()),
            skipped_share=_skipped_share(network),
        )


def _subject(request: CreateRequest) -> tuple[Maker, dict[str, Tensor]]:
    """How the network is made, and the tensors it is to have, both ready before the clock starts."""
    if request.what == "xmem":
        built = build_network(read_checkpoint(request.weights).tensors, request.weights)
        sizes = built.sizes
        return lambda: XMem(sizes), built.state_dict()
    layers = [nn.Linear(LINEAR_WIDTH, LINEAR_WIDTH, device="meta") for _ in range(LINEAR_LAYERS)]
    state = {name: torch.full(value.shape, 0.01) for name, value in nn.Sequential(*layers).state_dict().items()}
    return lambda: nn.Sequential(*(nn.Linear(LINEAR_WIDTH, LINEAR_WIDTH) for _ in range(LINEAR_LAYERS))), state


def _create(maker: Maker, way: str) -> nn.Module:
    """way: `default`, `disable_torch_init` (the fifth document's), `meta`."""
    contexts: dict[str, AbstractContextManager[object]] = {
        "default": nullcontext(),
        "disable_torch_init": disabled_init(),
        "meta": torch.device("meta"),
    }
    with contexts[way]:
        return maker()


def _fill(network: nn.Module, state: dict[str, Tensor], assign: bool) -> nn.Module:
    network.load_state_dict(state, assign=assign)
    return network


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
