"""Every run of an ablation in a fresh process, one after the other, and what came of it."""

import logging
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from ...config import Device, GradMode
from ...interrupts import check
from ..child import Outcome, run_in_child
from .clip import Clip, with_objects
from .config import AblateConfig
from .plan import Combination, Place
from .segmenting import SegmentRequest, segment

GB = 1_000_000_000
CSV_FIGURES = (
    "repeat", "status", "frames_done", "peak_tensor_bytes", "network_bytes", "peak_resident_bytes",
    "loaded_resident_bytes", "cuda_reserved_bytes", "p50_ms", "p95_ms", "read_seconds", "build_seconds",
    "masks_sha256", "reason",
)  # fmt: skip
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Setup:
    """What all runs of a sweep have in common. folder: for masks on their way between the processes."""

    config: AblateConfig
    clip: Clip
    weights: Path
    folder: Path
    device: Device
    timed: bool = True

    @property
    def ceiling_bytes(self) -> int:
        return int(self.config.ablate.max_memory_gb * GB)

    def request(self, combination: Combination, masks_to: Path | None) -> SegmentRequest:
        """What the child is asked."""
        scene, config = combination.scene, self.config
        mask = self.folder / f"first_{scene.objects}.npy"
        if not mask.exists():
            np.save(mask, with_objects(self.clip.first, scene.objects)[0])
        return SegmentRequest(
            self.clip.path, mask, self.weights, scene.frames, combination.grad_mode, combination.precision,
            replace(config.data, size=scene.size), config.memory, self.device, config.runtime.threads,
            self.ceiling_bytes, self.timed, masks_to,
        )  # fmt: skip


@dataclass
class Run:
    """One run, or the repeats of one combination joined. Bytes and milliseconds; None: not measured, or not reached.

    frames_done: complete frames, so that an `oom` run stopped in the frame of that index (from 0).
    held_bytes, frame_peak_bytes: by frame, of the pass that counted tensors.
    """

    combination: Combination
    repeat: int
    status: str
    reason: str
    frames_done: int
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
    masks: Path | None = None

    @property
    def mode(self) -> GradMode:
        return self.combination.grad_mode

    @property
    def place(self) -> Place:
        return self.combination.scene, self.combination.precision

    @property
    def p50_ms(self) -> float | None:
        return float(np.percentile(self.times_ms, 50)) if self.times_ms else None

    @property
    def p95_ms(self) -> float | None:
        return float(np.percentile(self.times_ms, 95)) if self.times_ms else None

    def csv_row(self) -> dict[str, Any]:
        """The run as a row; what was measured by frame as numbers with spaces between."""
        return {
            "grad_mode": self.mode.name,
            "precision": self.combination.precision.name,
            **asdict(self.combination.scene),
            **{name: getattr(self, name) for name in CSV_FIGURES},
            "held_bytes_by_frame": " ".join(map(str, self.held_bytes)),
            "peak_bytes_by_frame": " ".join(map(str, self.frame_peak_bytes)),
        }


def sweep(setup: Setup, order: Sequence[tuple[Combination, int]]) -> list[Run]:
    """Measure every run; a failing or dying one is a row like any other. A signal ends the sweep and its child."""
    runs = []
    with tqdm(total=len(order), desc="ablation", unit="run", disable=None) as bar:
        # One run for nothing: the next ones find libraries and weights in the disk cache.
        bar.set_postfix_str("warm-up")
        run_in_child(segment, setup.request(order[0][0], None), lambda event: check())
        for number, (combination, repeat) in enumerate(order):
            bar.set_postfix_str(str(combination))
            masks = setup.folder / f"masks_{number}.npz"
            outcome = run_in_child(segment, setup.request(combination, masks), lambda event: check())
            runs.append(run_of(combination, repeat, outcome, setup.config.ablate.warmup_frames, masks))
            if outcome.status == "failed":
                log.warning("failed: %s: %s", combination, outcome.reason)
            bar.update()
    return runs


def run_of(
    combination: Combination, repeat: int, outcome: Outcome, warmup_frames: int, masks: Path | None = None
) -> Run:
    """What a child told, as a row."""
    loaded = outcome.last("loaded") or {}
    passes = {event["name"]: event for event in outcome.all("pass_done")}
    frames = {name: [e for e in outcome.all("frame") if e["of"] == name] for name in ("timed", "counted")}
    timed, counted = passes.get("timed", {}), passes.get("counted", {})
    # On CUDA the timed pass counts, too.
    memory, memory_frames = counted or timed, frames["counted"] or frames["timed"]
    whole = timed or counted
    return Run(
        combination,
        repeat,
        outcome.status,
        outcome.reason,
        whole.get("frames_done", len(frames["timed"] or frames["counted"])),
        memory.get("peak_tensor_bytes"),
        loaded.get("network_bytes"),
        whole.get("peak_resident_bytes"),
        loaded.get("resident_bytes"),
        timed.get("cuda_reserved_bytes"),
        loaded.get("read_seconds"),
        loaded.get("build_seconds"),
        whole.get("masks_sha256"),
        [event["ms"] for event in frames["timed"][warmup_frames:]],
        [event["held_bytes"] for event in memory_frames if "held_bytes" in event],
        [event["peak_bytes"] for event in memory_frames if "peak_bytes" in event],
        masks if masks is not None and masks.exists() else None,
    )
