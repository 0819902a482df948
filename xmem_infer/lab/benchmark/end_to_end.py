"""Compare the whole pipeline, from a video file to masks on disk, with the engine alone on the same frames."""

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
from ...runtime.contexts import grad_mode
from ...types import LabelMask
from .interleaved import Progress
from .scene import block_mask, drifting_frames, write_clip
from .variants import split_name
from .workloads import Workload

ENGINE, MASKS, REVIEW = "engine alone", "file to masks", "file to masks, overlay and preview"
PIPELINES = (ENGINE, MASKS, REVIEW)
PIPELINE_STAGES = ("read", "upload", "segment", "post", "write")


@dataclass
class EndToEnd:
    """Times of one clip in each pipeline.

    Attributes:
        workload: Size and objects of the clip.
        variant: Name of the variant that segmented it.
        frames: Number of frames in the clip.
        ms_per_frame: By pipeline (PIPELINES), one value per round.
        stage_ms: Of the pipeline `MASKS`, by stage, one value per frame of all rounds. `read` is the time spent waiting
            for the decoder, which reads ahead; `write` the time spent waiting for the writer. `finish`, one value per
            round, is the time after the last frame to write and publish the remaining output.
    """

    workload: Workload
    variant: str
    frames: int
    ms_per_frame: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    stage_ms: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))


def measure_end_to_end(
    network: nn.Module, workload: Workload, variant: str, frames: int, rounds: int, progress: Progress
) -> EndToEnd:
    """Time each pipeline on the whole clip in interleaved rounds, after one warm-up round that is not counted."""
    backend, precision = split_name(variant)
    runtime = RuntimeConfig(Device.cpu, precision=precision, variant=backend)
    segmenter = Segmenter(network, None, runtime, DataConfig(size=workload.height))
    times, mask = EndToEnd(workload, variant, frames), LabelMask(block_mask(workload))
    with tempfile.TemporaryDirectory(prefix="xmem_benchmark_") as scratch:
        clip = Path(scratch) / "clip.mp4"
        write_clip(drifting_frames(workload, frames), clip)
        for number in range(-1, rounds):
            for pipeline in PIPELINES if number % 2 == 0 else reversed(PIPELINES):
                progress(f"{workload.name}: {pipeline}")
                stage_ms = times.stage_ms if pipeline == MASKS and number >= 0 else defaultdict(list)
                if pipeline == ENGINE:
                    seconds = _engine_alone(segmenter, clip, mask)
                else:
                    seconds = _to_disk(segmenter, clip, mask, pipeline == REVIEW, stage_ms)
                if number >= 0:
                    times.ms_per_frame[pipeline].append(seconds * 1000 / frames)
    return times


def _engine_alone(segmenter: Segmenter, clip: Path, mask: LabelMask) -> float:
    """Return the seconds for all frames, not counting decoding and normalisation, which are done in advance."""
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
    """Return the seconds from opening the file until its outputs are published beside it, replacing earlier ones."""
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
