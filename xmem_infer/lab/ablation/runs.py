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

from ...config import GradMode, Precision
from ..child import Event, Outcome, run_in_child
from .plan import Combination, Condition, Scene, Setup
from .segmenting import segment

GRADIENTS_OFF = tuple(mode for mode in GradMode if not mode.records)
CSV_FIGURES = (
    "repeat", "status", "frames_done", "peak_tensor_bytes", "network_bytes", "peak_resident_bytes",
    "loaded_resident_bytes", "cuda_reserved_bytes", "p50_ms", "p95_ms", "read_seconds", "build_seconds",
    "masks_sha256", "reason",
)  # fmt: skip
log = logging.getLogger(__name__)
Key = TypeVar("Key", bound=Hashable)


@dataclass
class Run:
    """Results of one run, or of all repeats of a combination. Bytes and milliseconds; None: not measured.

    frames_done: number of complete frames; a run with status `oom` was stopped in the frame with that index.
    held_bytes, frame_peak_bytes: by frame, from the pass that counted tensor memory.
    masks: (T, H, W) uint8; `sweep` keeps only those of the first run that finished under each condition.
    """

    combination: Combination
    repeat: int
    status: str
    reason: str
    frames_done: int = 0
    peak_tensor_bytes: int | None = None
    network_bytes: int | None = None
    peak_resident_bytes: float | None = None
    loaded_resident_bytes: int | None = None
    cuda_reserved_bytes: float | None = None
    read_seconds: float | None = None
    build_seconds: float | None = None
    masks_sha256: str | None = None
    times_ms: list[float] = field(default_factory=list)  # after the warm-up
    held_bytes: list[int] = field(default_factory=list)
    frame_peak_bytes: list[int] = field(default_factory=list)
    masks: np.ndarray | None = field(default=None, repr=False, compare=False)

    @property
    def mode(self) -> GradMode:
        return self.combination.grad_mode

    @property
    def scene(self) -> Scene:
        return self.combination.scene

    @property
    def precision(self) -> Precision:
        return self.combination.precision

    @property
    def condition(self) -> Condition:
        return self.scene, self.precision

    @property
    def p50_ms(self) -> float | None:
        return float(np.percentile(self.times_ms, 50)) if self.times_ms else None

    @property
    def p95_ms(self) -> float | None:
        return float(np.percentile(self.times_ms, 95)) if self.times_ms else None

    @property
    def load_ms(self) -> float | None:
        return 1000 * (self.read_seconds + self.build_seconds) if self.read_seconds and self.build_seconds else None

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


def sweep(setup: Setup, order: Sequence[tuple[Combination, int]]) -> list[Run]:
    """Measure every run. A run that fails or is killed becomes a row too. A signal ends the sweep and its child."""
    runs, threads, with_masks = [], setup.config.runtime.threads, set[Condition]()
    with tqdm(total=len(order), desc="ablation", unit="run", disable=None) as bar:
        # One run is not counted: it loads libraries and weights into the disk cache for the others.
        bar.set_postfix_str("warm-up")
        run_in_child(partial(segment, setup, order[0][0]), threads)
        for combination, repeat in order:
            bar.set_postfix_str(str(combination))
            outcome = run_in_child(partial(segment, setup, combination), threads)
            run = run_of(combination, repeat, outcome, setup.config.ablate.warmup_frames)
            if run.status == "failed":
                log.warning("failed: %s: %s", combination, run.reason)
            if run.status != "ok" or run.condition in with_masks:
                run.masks = None
            else:
                with_masks.add(run.condition)
            runs.append(run)
            bar.update()
    return runs


def run_of(combination: Combination, repeat: int, outcome: Outcome, warmup_frames: int) -> Run:
    """Build a Run from the events of a child: the fields of the events have the names of the Run's."""
    frames: dict[str, list[Event]] = defaultdict(list)
    for event in outcome.all("frame"):
        frames[event["of"]].append(event)
    timed, counted = frames["timed"], frames["counted"]
    passes = {event["name"]: event for event in outcome.all("pass_done")}
    fields: dict[str, Any] = {"frames_done": len(timed or counted)}
    # The timed pass is last, so that its values are used: counting needs resident memory itself.
    for source in (outcome.last("loaded"), passes.get("counted"), passes.get("timed")):
        fields |= {name: value for name, value in (source or {}).items() if name in CSV_FIGURES and value is not None}
    by_frame: dict[str, Any] = {
        "times_ms": [event["ms"] for event in timed[warmup_frames:]],
        # On CUDA the timed pass counts tensor memory too.
        "held_bytes": [event["held_bytes"] for event in counted or timed if "held_bytes" in event],
        "frame_peak_bytes": [event["peak_bytes"] for event in counted or timed if "peak_bytes" in event],
    }
    masks = (outcome.last("masks") or {}).get("masks")
    return Run(combination, repeat, outcome.status, outcome.reason, **fields, **by_frame, masks=masks)


def merge_repeats(runs: Sequence[Run]) -> list[Run]:
    """Merge the repeats of each combination into one run, in the order of first appearance.

    status: the worst; frames_done: the smallest; tensor peak: the largest; times: all; other figures: the median.
    """
    return [_merge(group) for group in grouped(runs, lambda run: run.combination).values()]


def _merge(runs: list[Run]) -> Run:
    worst = min(runs, key=lambda run: ("failed", "oom", "ok").index(run.status))
    names = ("peak_resident_bytes", "cuda_reserved_bytes", "read_seconds", "build_seconds")
    medians: dict[str, Any] = {name: _median(getattr(run, name) for run in runs) for name in names}
    return replace(
        max(runs, key=lambda run: len(run.held_bytes)),
        status=worst.status,
        reason=worst.reason,
        frames_done=min(run.frames_done for run in runs),
        peak_tensor_bytes=max((run.peak_tensor_bytes for run in runs if run.peak_tensor_bytes), default=None),
        times_ms=[time for run in runs for time in run.times_ms],
        **medians,
    )


def _median(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value]
    return median(known) if known else None


def grouped(runs: Iterable[Run], key: Callable[[Run], Key]) -> dict[Key, list[Run]]:
    """Group runs by what `key` returns, in order of first appearance."""
    groups = defaultdict[Key, list[Run]](list)
    for run in runs:
        groups[key(run)].append(run)
    return groups


def peak_spread(runs: Sequence[Run]) -> float:
    """Return the largest relative difference between tensor peaks of one combination's repeats: max / min - 1."""
    known = grouped((run for run in runs if run.status == "ok"), lambda run: run.combination).values()
    peaks = [[run.peak_tensor_bytes for run in group if run.peak_tensor_bytes] for group in known]
    return max((max(group) / min(group) - 1 for group in peaks if group), default=0.0)
