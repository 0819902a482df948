"""What the claims of the documents are checked against: runs of the network, and of the documents' examples."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import product

from ...config import GradMode, Precision
from ..child import Event, Outcome, run_in_child
from .comparisons import Saving, savings
from .config import DocumentsConfig
from .networks import Creation, Subject, create, linear_forward
from .plan import Combination, Setup, combinations, interleaved
from .runs import Run, sweep

LINEAR_MODES = (GradMode.enable_grad, GradMode.no_grad, GradMode.inference_mode)
log = logging.getLogger(__name__)


class NotMeasured(Exception):
    """A check cannot be made; the message is the reason."""


@dataclass(frozen=True)
class Evidence:
    """All measurements from child processes.

    modes: one timed run per grad mode and precision on one scene; runs, savings: of all scenes, with gradients off and
    with the graph cut after each frame; linear: forward passes of the third document's network; created: new networks.
    """

    sizes: DocumentsConfig
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


def event_of(outcome: Outcome, kind: str) -> Event:
    """Return the event with a child's measurements. Raises NotMeasured with the reason if there is none."""
    event = outcome.last(kind)
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
    modes = sweep(setup, interleaved(every_mode, 1))
    runs = sweep(replace(setup, timed=False), interleaved(every_scene, 1))
    sizes, threads, limit = config.documents, config.runtime.threads, setup.ceiling_bytes
    linear = {mode: run_in_child(partial(linear_forward, sizes, mode, limit), threads) for mode in LINEAR_MODES}
    ways = product(Subject, Creation)
    created = {way: run_in_child(partial(create, *way, limit), threads) for way in ways}
    return Evidence(sizes, modes, runs, savings(runs), linear, created)
