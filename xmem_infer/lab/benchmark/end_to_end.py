"""From a video file to masks on disk, as `scripts/eval.py` does it, against the engine alone on the same frames."""

import tempfile
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import torch

from ...config import DataConfig, Device, OutputConfig, Precision, RuntimeConfig
from ...interrupts import check
from ...io.frames import open_frames
from ...model.network import XMem
from ...ops.images import normalise
from ...outputs.writer import VideoWriter
from ...predictor import Segmenter
from ...runtime.grad_mode import grad_mode
from ...types import LabelMask
from .rounds import Step
from .scene import block_mask, drifting_frames, write_clip
from .workloads import Workload

ENGINE, MASKS, REVIEW = "engine alone", "file to masks", "file to masks, overlay and preview"
WAYS = (ENGINE, MASKS, REVIEW)
PIPELINE_STAGES = ("read", "upload", "segment", "post", "write")


@dataclass
class EndToEnd:
    """ms_per_frame: of each way (WAYS), a figure per round; stage_ms: of every frame of all rounds of MASKS.

    `read` is the wait for the decoder, which works ahead, `write` the wait for the writer, `finish` (one figure per
    round) what is left to write and to publish after the last frame.
    """

    workload: Workload
    variant: str
    frames: int
    ms_per_frame: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    stage_ms: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))

    def ratio(self, way: str) -> float:
        """Median over the engine's."""
        return float(np.median(self.ms_per_frame[way]) / np.median(self.ms_per_frame[ENGINE]))

    def flat(self) -> dict[str, Any]:
        """For a table."""
        found: dict[str, Any] = {"workload": self.workload.name, "variant": self.variant, "frames": self.frames}
        for way in WAYS:
            found[f"{way}, ms"] = float(np.median(self.ms_per_frame[way]))
        return {**found, **{f"{way}, ratio": self.ratio(way) for way in WAYS[1:]}}


def measure_end_to_end(
    network: XMem, workload: Workload, variant: str, frames: int, rounds: int, step: Step
) -> EndToEnd:
    """Time the whole of a clip each way, interleaved; one round more, for warming up, is not counted."""
    kind, _, precision = variant.partition("_")
    runtime = RuntimeConfig(Device.cpu, precision=Precision(precision), variant=kind)
    segmenter = Segmenter(network, None, runtime, DataConfig(size=workload.height))
    found = EndToEnd(workload, variant, frames)
    with tempfile.TemporaryDirectory(prefix="xmem_benchmark_") as scratch:
        clip = Path(scratch) / "clip.mp4"
        write_clip(drifting_frames(workload, frames), clip)
        mask = LabelMask(block_mask(workload))
        ways: dict[str, Callable[[], float]] = {
            ENGINE: lambda: _engine_alone(segmenter, clip, mask),
            MASKS: lambda: _to_disk(segmenter, clip, mask, Path(scratch), False, found.stage_ms),
            REVIEW: lambda: _to_disk(segmenter, clip, mask, Path(scratch), True, {}),
        }
        for number in range(-1, rounds):
            for way in WAYS if number % 2 == 0 else reversed(WAYS):
                check()
                step(f"{workload.name}: {way}")
                seconds = ways[way]()
                if number >= 0:
                    found.ms_per_frame[way].append(seconds * 1000 / frames)
            if number < 0:
                found.stage_ms.clear()
    return found


def _engine_alone(segmenter: Segmenter, clip: Path, mask: LabelMask) -> float:
    """Seconds for all frames, decoded and normalised before."""
    images = [normalise(torch.from_numpy(frame.image)) for frame in open_frames(clip, segmenter.data)]
    labels = torch.from_numpy(mask.ids)
    state = segmenter.engine.start()
    started = perf_counter()
    for index, image in enumerate(images):
        with grad_mode(segmenter.runtime.grad_mode), segmenter.prepared.context():
            segmenter.engine.step(state, image, None if index else labels, end=index == len(images) - 1)
    return perf_counter() - started


def _to_disk(
    segmenter: Segmenter, clip: Path, mask: LabelMask, folder: Path, review: bool, stage_ms: dict[str, list[float]]
) -> float:
    """Seconds from opening the file to its finished outputs; older ones are replaced."""
    started = perf_counter()
    source = open_frames(clip, segmenter.data)
    options = OutputConfig(overlay=review, preview=review)
    with VideoWriter(folder, source.name, source.size, mask.palette, options, source.fps, source.count) as writer:
        for result in segmenter.segment(source, mask):
            before = perf_counter()
            writer.put(result.frame, result.mask, result.confidence)
            result.stage_ms["write"] = (perf_counter() - before) * 1000
            for stage, spent in result.stage_ms.items():
                stage_ms.setdefault(stage, []).append(spent)
        last = perf_counter()
    stage_ms.setdefault("finish", []).append((perf_counter() - last) * 1000)
    return perf_counter() - started
