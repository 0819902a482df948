"""What the documents' claims are held against, and the verdict on them."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum

from ...config import GradMode, Precision
from ..child import Event, Outcome
from .comparisons import Saving
from .config import DocumentsConfig
from .networks import Subject, Way
from .runs import Run

LINEAR_MODES = (GradMode.enable_grad, GradMode.no_grad, GradMode.inference_mode)


class Verdict(Enum):
    holds = "holds"
    holds_in_part = "holds in part"
    does_not_hold = "does not hold"
    not_measured = "not measured"


Finding = tuple[Verdict, str]  # and what was measured, in words


class NotMeasured(Exception):
    """A check cannot be made; the message is the reason."""


@dataclass(frozen=True)
class Evidence:
    """All that was measured in child processes.

    modes: one timed run per grad mode and precision on one scene; runs, savings: of all scenes, gradients off and
    cut after each frame; linear: a forward of the third document's network; created: ways to make a network.
    """

    sizes: DocumentsConfig
    modes: Sequence[Run]
    runs: Sequence[Run]
    savings: Sequence[Saving]
    linear: Mapping[GradMode, Outcome]
    created: Mapping[tuple[Subject, Way], Outcome]

    def run(self, mode: GradMode, precision: Precision, whole: bool = True) -> Run:
        """The run of a mode; whole: one that finished. Raises NotMeasured."""
        found = next((run for run in self.modes if run.mode is mode and run.precision is precision), None)
        if found is None or not found.held_bytes or (whole and found.status != "ok"):
            raise NotMeasured(f"{mode.name}: {found.reason if found and found.reason else 'no figures'}")
        return found


def event_of(outcome: Outcome, kind: str) -> Event:
    """The event with a child's figures. Raises NotMeasured with the reason why there is none."""
    event = outcome.last(kind)
    if event is None:
        raise NotMeasured(outcome.reason or "no answer")
    return event


def verdict(*parts: bool) -> Verdict:
    """All parts true: holds; some: in part; none: does not hold."""
    if all(parts):
        return Verdict.holds
    return Verdict.holds_in_part if any(parts) else Verdict.does_not_hold


def refused(action: Callable[[], object]) -> str:
    """The first sentence of the error that calling `action` raises; empty where it raises none."""
    try:
        action()
    except (RuntimeError, ValueError) as error:
        return str(error).partition("\n")[0].partition(". ")[0]
    return ""
