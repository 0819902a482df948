"""The parent: every run of an ablation in a fresh process, one after the other, and what came of it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from ...config import DataConfig, Device, MemoryConfig
from ...interrupts import check
from .clip import Clip, with_objects
from .plan import Cell
from .process import Event, Nursery, Outcome
from .requests import SegmentRequest

GB = 1_000_000_000


@dataclass(frozen=True)
class Bench:
    """What all runs of a sweep have in common. folder: for masks on their way between the processes."""

    clip: Clip
    weights: Path
    folder: Path
    data: DataConfig
    memory: MemoryConfig
    device: Device
    threads: int | None
    max_memory_gb: float
    warmup_frames: int
    timed: bool = True

    def request(self, cell: Cell, masks_to: Path | None) -> SegmentRequest:
        """What the child of this cell is asked."""
        mask = self.folder / f"first_{cell.scene.objects}.npy"
        if not mask.exists():
            np.save(mask, with_objects(self.clip.first, cell.scene.objects)[0])
        data = DataConfig(cell.scene.size, self.data.antialias, self.data.on_corrupt, max_pixels=self.data.max_pixels)
        return SegmentRequest(
            self.clip.path, mask, self.weights, cell.scene.frames, cell.grad_mode, cell.precision, data, self.memory,
            self.device, self.threads, int(self.max_memory_gb * GB), self.timed, masks_to,
        )  # fmt: skip


@dataclass
class Row:
    """One run. Bytes and milliseconds; None: not measured, or not reached.

    frames_done: complete frames, so that an `oom` row stopped in the frame of that index (from 0).
    frames: per frame of the pass that counted tensors, else of the timed one.
    """

    cell: Cell
    repeat: int
    status: str
    reason: str
    frames_done: int
    peak_tensor_bytes: int | None = None
    network_bytes: int | None = None
    peak_resident_bytes: int | None = None
    loaded_resident_bytes: int | None = None
    cuda_reserved_bytes: int | None = None
    read_seconds: float | None = None
    build_seconds: float | None = None
    masks_sha256: str | None = None
    times_ms: list[float] = field(default_factory=list)  # after the warm-up
    held_bytes: list[int] = field(default_factory=list)
    frame_peak_bytes: list[int] = field(default_factory=list)
    resident_bytes: list[int] = field(default_factory=list)
    masks: Path | None = None

    def flat(self) -> dict[str, Any]:
        """The row for a table: single values only."""
        scene = self.cell.scene
        return {
            "grad_mode": self.cell.grad_mode.name, "precision": self.cell.precision.name, "size": scene.size,
            "objects": scene.objects, "frames": scene.frames, "repeat": self.repeat, "status": self.status,
            "frames_done": self.frames_done, "peak_tensor_bytes": self.peak_tensor_bytes,
            "network_bytes": self.network_bytes, "peak_resident_bytes": self.peak_resident_bytes,
            "loaded_resident_bytes": self.loaded_resident_bytes, "cuda_reserved_bytes": self.cuda_reserved_bytes,
            "p50_ms": percentile(self.times_ms, 50), "p95_ms": percentile(self.times_ms, 95),
            "read_seconds": self.read_seconds, "build_seconds": self.build_seconds,
            "masks_sha256": self.masks_sha256, "reason": self.reason,
        }  # fmt: skip

    def series(self) -> dict[str, list[Any]]:
        """What was measured frame by frame."""
        return {
            "times_ms": self.times_ms,
            "held_bytes": self.held_bytes,
            "frame_peak_bytes": self.frame_peak_bytes,
            "resident_bytes": self.resident_bytes,
        }


def percentile(values: Sequence[float], share: float) -> float | None:
    """None where there are no values."""
    return float(np.percentile(values, share)) if values else None


def sweep(bench: Bench, order: Sequence[tuple[Cell, int]], nursery: Nursery, say: Callable[[str], None]) -> list[Row]:
    """Measure every run; a bar shows how far it is. A failing or dying run is a row like any other."""
    rows = []
    total = sum(cell.scene.frames for cell, _ in order)
    with tqdm(total=total, desc="ablation", unit="frame", disable=None) as bar:
        # One run for nothing: the next ones find libraries and weights in the disk cache.
        bar.set_postfix_str("warm-up")
        nursery.run(bench.request(order[0][0], None))
        for number, (cell, repeat) in enumerate(order):
            bar.set_postfix_str(f"{number + 1}/{len(order)} {cell.words}")
            masks = bench.folder / f"masks_{number}.npz"
            seen = _Progress(bar, cell.scene.frames, passes=2 if bench.timed and bench.device is Device.cpu else 1)
            outcome = nursery.run(bench.request(cell, masks), seen)
            seen.finish()
            rows.append(row_of(cell, repeat, outcome, bench.warmup_frames, masks))
            if rows[-1].status == "failed":
                say(f"failed: {cell.words}: {rows[-1].reason}")
    return rows


def row_of(cell: Cell, repeat: int, outcome: Outcome, warmup_frames: int, masks: Path | None = None) -> Row:
    """What a child told, as a row."""
    loaded = outcome.last("loaded") or {}
    passes = {event["name"]: event for event in outcome.all("pass_done")}
    timed, counted = passes.get("timed", {}), passes.get("counted", {})
    frames = _frames_by_pass(outcome)
    memory = counted if "peak_tensor_bytes" in counted else timed
    of_memory = frames.get("counted") or frames.get("timed", [])
    whole = timed or counted
    return Row(
        cell,
        repeat,
        outcome.status,
        outcome.reason,
        whole.get("frames_done", len(frames.get("timed", frames.get("counted", [])))),
        memory.get("peak_tensor_bytes"),
        loaded.get("network_bytes"),
        whole.get("peak_resident_bytes"),
        loaded.get("resident_bytes"),
        timed.get("cuda_reserved_bytes"),
        loaded.get("read_seconds"),
        loaded.get("build_seconds"),
        whole.get("masks_sha256"),
        [event["ms"] for event in frames.get("timed", [])[warmup_frames:]],
        [event["held_bytes"] for event in of_memory if "held_bytes" in event],
        [event["peak_bytes"] for event in of_memory if "peak_bytes" in event],
        [event["resident_bytes"] for event in frames.get("timed", of_memory)],
        masks if masks is not None and masks.exists() else None,
    )


def _frames_by_pass(outcome: Outcome) -> dict[str, list[Event]]:
    found: dict[str, list[Event]] = {}
    name = ""
    for event in outcome.events:
        if event["event"] == "pass":
            name = event["name"]
            found[name] = []
        elif event["event"] == "frame":
            found[name].append(event)
    return found


class _Progress:
    """Moves the bar by whole frames, whatever number of passes a frame takes; a signal is heard here, too."""

    def __init__(self, bar: "tqdm[Any]", frames: int, passes: int):
        self._bar, self._frames, self._passes = bar, frames, passes
        self._seen = self._shown = 0

    def __call__(self, event: Event) -> None:
        check()
        if event["event"] == "frame":
            self._seen += 1
            self._show(min(self._frames, self._seen // self._passes))

    def finish(self) -> None:
        self._show(self._frames)

    def _show(self, frames: int) -> None:
        self._bar.update(frames - self._shown)
        self._shown = frames
