"""What the claims of the documents are checked against: runs of the network, and of the documents' examples."""

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, replace
from enum import Enum
from functools import partial
from itertools import product
from time import perf_counter

import torch
from torch import nn

from ...config import GradMode, Precision
from ...model.network import XMem
from ...runtime.contexts import grad_mode
from ..child import Event, Outcome, Send, run_in_child
from ..resident import ceiling
from .comparisons import Saving, savings
from .plan import Combination, Setup, combinations
from .runs import Run, sweep
from .tensor_bytes import TensorBytes

CPU = torch.device("cpu")
FEATURES, ROWS = 5_000, 1_000  # of the third document's example: width of input and output, rows of the input
LINEAR_MODES = (GradMode.enable_grad, GradMode.no_grad, GradMode.inference_mode)
log = logging.getLogger(__name__)


class Subject(Enum):
    xmem = "the network at its published sizes"
    linear = "a sequence of Linear layers of 200 MB, about as large"


class Creation(Enum):
    default = "with initial numbers drawn by torch"
    disable_torch_init = "with the fifth document's disable_torch_init"
    meta = "on the meta device, loaded with assign=True"


class NotMeasured(Exception):
    """A check cannot be made; the message is the reason."""


@dataclass(frozen=True)
class Evidence:
    """All measurements from child processes.

    modes: one timed run per grad mode and precision on one scene; runs, savings: of all scenes, with gradients off and
    with the graph cut after each frame; linear: forward passes of the third document's network; created: new networks.
    """

    modes: Sequence[Run]
    runs: Sequence[Run]
    savings: Sequence[Saving]
    linear: Mapping[GradMode, Outcome]
    created: Mapping[tuple[Subject, Creation], Outcome]

    def run(self, mode: GradMode, precision: Precision, complete: bool = True) -> Run:
        """Return the run of a mode. complete: the run must have finished. Raises NotMeasured."""
        run = next((run for run in self.modes if run.mode is mode and run.precision is precision), None)
        if run is None or not run.held_bytes or (complete and run.status != "ok"):
            raise NotMeasured(f"{mode.name}: {run.reason if run and run.reason else 'no figures'}")
        return run


def measured(outcome: Outcome) -> Event:
    """Return the event with a child's measurements. Raises NotMeasured with the reason if there is none."""
    event = outcome.last("measured")
    if event is None:
        raise NotMeasured(outcome.reason or "no answer")
    return event


def measure(setup: Setup, precisions: Sequence[Precision]) -> Evidence:
    """Run all measurements that take child processes."""
    config = setup.config
    within_a_frame = [GradMode.set_grad_enabled, GradMode.enable_grad_detached]
    every_scene = combinations(replace(config.ablate, grad_modes=within_a_frame), precisions)
    every_mode = [Combination(every_scene[0].scene, precision, mode) for precision in precisions for mode in GradMode]
    log.info("%d runs at the network's published size, then the other claims", len(every_mode) + len(every_scene))
    modes = sweep(setup, every_mode, 1)
    runs = sweep(replace(setup, timed=False), every_scene, 1)
    hidden, threads, limit = config.documents.hidden, config.runtime.threads, setup.ceiling_bytes
    linear = {mode: run_in_child(partial(linear_forward, hidden, mode, limit), threads) for mode in LINEAR_MODES}
    created = {way: run_in_child(partial(create, *way, limit), threads) for way in product(Subject, Creation)}
    return Evidence(modes, runs, savings(runs), linear, created)


def create(subject: Subject, creation: Creation, ceiling_bytes: int, send: Send) -> None:
    """Create a network in one of the ways, load given tensors into it, and send `measured`.

    Its fields: seconds, peak bytes of new tensors, whether all parameters require gradients, and the share of
    parameters that `disabled_init` leaves uninitialised.
    """

    def build() -> nn.Module:
        return XMem() if subject is Subject.xmem else nn.Sequential(*(nn.Linear(2048, 2048) for _ in range(12)))

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
        skipped = [layer for layer in network.modules() if isinstance(layer, nn.Linear | nn.LayerNorm)]
        share = sum(p.numel() for layer in skipped for p in layer.parameters()) / sum(
            p.numel() for p in network.parameters()
        )
        trained = all(parameter.requires_grad for parameter in network.parameters())
        send("measured", seconds=seconds, peak_bytes=counter.peak, requires_grad=trained, skipped_share=share)


@contextmanager
def disabled_init() -> Iterator[None]:
    """Disable the initialisation of Linear and LayerNorm inside the block: the document's `disable_torch_init`."""
    originals = nn.Linear.reset_parameters, nn.LayerNorm.reset_parameters
    nn.Linear.reset_parameters = nn.LayerNorm.reset_parameters = lambda self: None  # type: ignore[method-assign, assignment]
    try:
        yield
    finally:
        nn.Linear.reset_parameters, nn.LayerNorm.reset_parameters = originals  # type: ignore[method-assign]


def linear_forward(hidden: int, mode: GradMode, ceiling_bytes: int, send: Send) -> None:
    """Run one forward pass of Linear(FEATURES, hidden) - ReLU - Linear(hidden, FEATURES) on ones (ROWS, FEATURES).

    Sends `measured`: bytes held afterwards (output and graph), peak, bytes of the output.
    """
    with ceiling(ceiling_bytes):
        with torch.device("meta"):
            network = nn.Sequential(nn.Linear(FEATURES, hidden), nn.ReLU(), nn.Linear(hidden, FEATURES))
        network.to_empty(device=CPU)
        for parameter in network.parameters():
            nn.init.constant_(parameter, 0.001)  # drawing 500 million random numbers takes longer than the forward pass
        x = torch.ones(ROWS, FEATURES, requires_grad=True)
        counter = TensorBytes(CPU)
        with grad_mode(mode), counter.counting():
            y = network(x)
        send("measured", held_bytes=counter.held, peak_bytes=counter.peak, output_bytes=y.nbytes)
