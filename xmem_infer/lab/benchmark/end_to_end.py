"""From a video file to masks on disk, as `scripts/eval.py` does it, against the engine alone on the same frames."""

import tempfile
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter

import torch
from torch import nn

from ...config import DataConfig, Device, OutputConfig, RuntimeConfig
from ...io.frames import open_frames
from ...ops.images import normalise
from ...outputs.protocol import VideoDetails
from ...outputs.writer import VideoWriter
from ...predictor import Segmenter
from ...runtime.grad_mode import grad_mode
from ...types import LabelMask
from .interleaved import Step
from .scene import block_mask, drifting_frames, write_clip
from .variants import split_name
from .workloads import Workload

ENGINE, MASKS, REVIEW = "engine alone", "file to masks", "file to masks, overlay and preview"
WAYS = (ENGINE, MASKS, REVIEW)
PIPELINE_STAGES = ("read", "upload", "segment", "post", "write")


@dataclass
class EndToEnd:
    """One clip each way.

    Attributes:
        workload: Size and objects of the clip.
        variant: What segmented it, by name.
        frames: In the clip.
        ms_per_frame: By way (WAYS), a figure per round.
        stage_ms: Of `MASKS`, by stage, a figure per frame of all rounds: `read` is the wait for the decoder, which
            works ahead, `write` the wait for the writer. `finish`, a figure per round, is what is left to write and
            to publish after the last frame.
    """

    workload: Workload
    variant: str
    frames: int
    ms_per_frame: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    stage_ms: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))


def measure_end_to_end(
    network: nn.Module, workload: Workload, variant: str, frames: int, rounds: int, step: Step
) -> EndToEnd:
    """Time the whole of a clip each way, interleaved; one round more, for warming up, is not counted."""
    backend, precision = split_name(variant)
    runtime = RuntimeConfig(Device.cpu, precision=precision, variant=backend)
    segmenter = Segmenter(network, None, runtime, DataConfig(size=workload.height))
    found, mask = EndToEnd(workload, variant, frames), LabelMask(block_mask(workload))
    with tempfile.TemporaryDirectory(prefix="xmem_benchmark_") as scratch:
        clip = Path(scratch) / "clip.mp4"
        write_clip(drifting_frames(workload, frames), clip)
        for number in range(-1, rounds):
            for way in WAYS if number % 2 == 0 else reversed(WAYS):
                step(f"{workload.name}: {way}")
                stage_ms = found.stage_ms if way == MASKS and number >= 0 else defaultdict(list)
                if way == ENGINE:
                    seconds = _engine_alone(segmenter, clip, mask)
                else:
                    seconds = _to_disk(segmenter, clip, mask, way == REVIEW, stage_ms)
                if number >= 0:
                    found.ms_per_frame[way].append(seconds * 1000 / frames)
    return found


def _engine_alone(segmenter: Segmenter, clip: Path, mask: LabelMask) -> float:
    """Seconds for all frames, decoded and normalised before."""
    images = [normalise(torch.from_numpy(frame.image)) for frame in open_frames(clip, segmenter.data)]
    ids = torch.from_numpy(mask.ids)
    state = segmenter.start()
    started = perf_counter()
    for index, image in enumerate(images):
        with grad_mode(segmenter.runtime.grad_mode), segmenter.prepared.context():
            segmenter.engine.step(state, image, None if index else ids, end=index == len(images) - 1)
    return perf_counter() - started


def _to_disk(
    segmenter: Segmenter, clip: Path, mask: LabelMask, review: bool, stage_ms: dict[str, list[float]]
) -> float:
    """Seconds from opening the file to its finished outputs beside it; older ones are replaced."""
    started = perf_counter()
    source = open_frames(clip, segmenter.data)
    options = OutputConfig(overlay=review, preview=review)
    details = VideoDetails(clip.parent, source.name, mask.palette, source.fps, source.count)
    with VideoWriter(details, source.size, options) as writer:
        for result in segmenter.segment(source, mask):
            before = perf_counter()
            writer.put(result.frame, result.mask, result.confidence)
            result.stage_ms["write"] = (perf_counter() - before) * 1000
            for stage, spent in result.stage_ms.items():
                stage_ms[stage].append(spent)
        last = perf_counter()
    stage_ms["finish"].append((perf_counter() - last) * 1000)
    return perf_counter() - started
