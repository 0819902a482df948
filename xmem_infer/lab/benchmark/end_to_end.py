"""Compare the whole pipeline, from a video file to masks on disk, with the engine alone on the same frames."""

import tempfile
from pathlib import Path
from statistics import median
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
from .interleaved import Progress, Row
from .scene import block_mask, drifting_frames, write_clip
from .variants import split_name
from .workloads import Workload

ENGINE, MASKS, REVIEW = "engine alone", "file to masks", "file to masks, overlay and preview"
PIPELINES = (ENGINE, MASKS, REVIEW)
FRAMES = 25  # of the video file


def measure_end_to_end(network: nn.Module, workload: Workload, variant: str, rounds: int, progress: Progress) -> Row:
    """Time each pipeline on the whole clip in interleaved rounds, after one warm-up round that is not counted.

    Returns:
        `workload`, `variant`, and by pipeline the median of the milliseconds per frame.
    """
    backend, precision = split_name(variant)
    runtime = RuntimeConfig(Device.cpu, precision=precision, variant=backend)
    segmenter = Segmenter(network, None, runtime, DataConfig(size=workload.height))
    seconds: dict[str, list[float]] = {pipeline: [] for pipeline in PIPELINES}
    mask = LabelMask(block_mask(workload))
    with tempfile.TemporaryDirectory(prefix="xmem_benchmark_") as scratch:
        clip = Path(scratch) / "clip.mp4"
        write_clip(drifting_frames(workload, FRAMES), clip)
        for number in range(rounds + 1):
            for pipeline in PIPELINES if number % 2 else reversed(PIPELINES):
                progress(f"{workload.name}: {pipeline}")
                if pipeline == ENGINE:
                    spent = _engine_alone(segmenter, clip, mask)
                else:
                    spent = _to_disk(segmenter, clip, mask, pipeline == REVIEW)
                seconds[pipeline].append(spent)
    ms = {pipeline: 1000 * median(each[1:]) / FRAMES for pipeline, each in seconds.items()}
    return {"workload": workload.name, "variant": variant, **ms}


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


def _to_disk(segmenter: Segmenter, clip: Path, mask: LabelMask, review: bool) -> float:
    """Return the seconds from opening the file until its outputs are published beside it, replacing earlier ones."""
    started = perf_counter()
    source = open_frames(clip, segmenter.data)
    options = OutputConfig(overlay=review, preview=review)
    details = VideoDetails(clip.parent, source.name, mask.palette, source.fps, source.count)
    with VideoWriter(details, options) as writer:
        for result in segmenter.segment(source, mask):
            writer.put(result.frame, result.mask, result.confidence)
    return perf_counter() - started
