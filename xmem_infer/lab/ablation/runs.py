"""Run all combinations of an ablation, each in a fresh process, and collect the results."""

import logging
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from statistics import median
from typing import Any, TypeVar

import numpy as np
from tqdm import tqdm

from ...config import GradMode
from ..child import Outcome, run_in_child
from .config import WARMUP_FRAMES
from .plan import Combination, Condition, Setup
from .segmenting import segment

GRADIENTS_OFF = tuple(mode for mode in GradMode if not mode.records)
STATUSES = ("failed", "oom", "ok")  # worst first
CSV_FIGURES = (
    "repeat", "status", "frames_done", "peak_tensor_bytes", "network_bytes", "peak_resident_bytes",
    "cuda_reserved_bytes", "p50_ms", "p95_ms", "masks_sha256", "reason",
)  # fmt: skip
log = logging.getLogger(__name__)
Key = TypeVar("Key", bound=Hashable)


@dataclass(frozen=True)
class Run(Combination):
    """Results of one run, or of all repeats of a combination. Bytes and milliseconds; None: not measured.

    frames_done: number of complete frames; a run with status `oom` was stopped in the frame with that index.
    held_bytes, frame_peak_bytes: by frame, from the pass that counted tensor memory.
    masks: (T, H, W) uint8; `sweep` keeps only those of the first run that finished under each condition.
    """

    repeat: int
    status: str
    reason: str
    frames_done: int = 0
    peak_tensor_bytes: int | None = None
    network_bytes: int | None = None
    peak_resident_bytes: float | None = None
    cuda_reserved_bytes: float | None = None
    masks_sha256: str | None = None
    times_ms: list[float] = field(default_factory=list)  # after the warm-up
    held_bytes: list[int] = field(default_factory=list)
    frame_peak_bytes: list[int] = field(default_factory=list)
    masks: np.ndarray | None = field(default=None, repr=False, compare=False)

    @property
    def p50_ms(self) -> float | None:
        return float(np.percentile(self.times_ms, 50)) if self.times_ms else None

    @property
    def p95_ms(self) -> float | None:
        return float(np.percentile(self.times_ms, 95)) if self.times_ms else None

    def csv_row(self) -> dict[str, Any]:
        """Return the run as a row of the CSV; values by frame are joined with spaces."""
        return {
            "grad_mode": self.mode.name,
            "precision": self.precision.name,
            **asdict(self.scene),
            **{name: getattr(self, name) for name in CSV_FIGURES},
            "held_bytes_by_frame": " ".join(map(str, self.held_bytes)),
            "peak_bytes_by_frame": " ".join(map(str, self.frame_peak_bytes)),
        }


def sweep(setup: Setup, order: Sequence[Combination], repeats: int) -> list[Run]:
    """Measure every combination in rounds, every other round in reverse order, so that a slowdown affects all alike.

    A run that fails or is killed becomes a row too. A signal ends the sweep and its child.
    """
    runs, threads, with_masks = [], setup.config.runtime.threads, set[Condition]()
    rounds = [(one, number) for number in range(repeats) for one in (order[::-1] if number % 2 else order)]
    # One run is not counted: it loads libraries and weights into the disk cache for the others.
    run_in_child(partial(segment, setup, order[0]), threads)
    with tqdm(rounds, desc="ablation", unit="run", disable=None) as bar:
        for combination, repeat in bar:
            bar.set_postfix_str(str(combination))
            run = run_of(combination, repeat, run_in_child(partial(segment, setup, combination), threads))
            if run.status == "failed":
                log.warning("failed: %s: %s", run, run.reason)
            if run.status != "ok" or run.condition in with_masks:
                run = replace(run, masks=None)
            else:
                with_masks.add(run.condition)
            runs.append(run)
    return runs


def run_of(combination: Combination, repeat: int, outcome: Outcome) -> Run:
    """Build a Run from the events of a child: the fields of the events have the names of the Run's."""
    frames = outcome.all("frame")
    timed, counted = ([frame for frame in frames if frame["of"] == name] for name in ("timed", "counted"))
    fields: dict[str, Any] = {}
    # The timed pass is first, and its values are used: counting needs resident memory itself.
    for event in (*outcome.all("loaded"), *reversed(outcome.all("pass_done"))):
        fields |= {name: value for name, value in event.items() if name in CSV_FIGURES and value is not None}
    measured = [frame for frame in counted or timed if "held_bytes" in frame]  # on CUDA, both in one pass
    return Run(
        **vars(combination),
        repeat=repeat,
        status=outcome.status,
        reason=outcome.reason,
        frames_done=len(timed or counted),
        **fields,
        times_ms=[frame["ms"] for frame in timed[WARMUP_FRAMES:]],
        held_bytes=[frame["held_bytes"] for frame in measured],
        frame_peak_bytes=[frame["peak_bytes"] for frame in measured],
        masks=(outcome.last("masks") or {}).get("masks"),
    )


def merge_repeats(runs: Sequence[Run]) -> list[Run]:
    """Merge the repeats of each combination into one run, in the order of first appearance.

    status: the worst; frames_done: the smallest; tensor peak: the largest; times: all; resident and reserved: median.
    """
    return [_merge(group) for group in grouped(runs, lambda run: (run.condition, run.mode)).values()]


def _merge(runs: list[Run]) -> Run:
    def known(name: str) -> list[Any]:
        return [value for run in runs if (value := getattr(run, name))] or [None]

    worst = min(runs, key=lambda run: STATUSES.index(run.status))
    return replace(
        max(runs, key=lambda run: len(run.held_bytes)),
        status=worst.status,
        reason=worst.reason,
        frames_done=min(run.frames_done for run in runs),
        peak_tensor_bytes=max(known("peak_tensor_bytes")),
        peak_resident_bytes=median(known("peak_resident_bytes")),
        cuda_reserved_bytes=median(known("cuda_reserved_bytes")),
        times_ms=[time for run in runs for time in run.times_ms],
    )


def grouped(runs: Iterable[Run], key: Callable[[Run], Key]) -> dict[Key, list[Run]]:
    """Group runs by what `key` returns, in order of first appearance."""
    groups = defaultdict[Key, list[Run]](list)
    for run in runs:
        groups[key(run)].append(run)
    return groups
