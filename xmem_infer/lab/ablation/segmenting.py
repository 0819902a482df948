"""In the child: segment a clip and report what every frame costs."""

import hashlib
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from time import perf_counter

import numpy as np
import torch

from ...config import DataConfig, Device, GradMode, MemoryConfig, Precision, RuntimeConfig
from ...errors import EnvironmentFault
from ...io.frames import ArrayFrames, open_frames
from ...predictor import Segmenter
from ...types import LabelMask
from ...weights.build import build_network
from ...weights.files import read_checkpoint, verify_hash
from ..child import Tell
from ..resident import CeilingReached, ceiling, peak_resident_bytes, resident_bytes, restart_peak
from .tensor_bytes import TensorBytes, bytes_of


@dataclass
class SegmentRequest:
    """Segment the first `frames` of a video from a mask (.npy) and report memory and time per frame.

    timed: take times and resident memory; on the CPU tensor memory is counted in a second pass, so that
    counting slows down no clock. masks_to: .npz that takes the masks; None: only their hash is wanted.
    """

    video: Path
    mask: Path
    weights: Path
    frames: int
    grad_mode: GradMode
    precision: Precision
    data: DataConfig
    memory: MemoryConfig
    device: Device
    threads: int | None
    ceiling_bytes: int
    timed: bool = True
    masks_to: Path | None = None


def segment(request: SegmentRequest, tell: Tell) -> None:
    """Load, segment in one or two passes, tell: loaded; of each pass frame (many) and pass_done."""
    segmenter, network_bytes = _load(request, tell)
    device = segmenter.prepared.device
    masks: list[np.ndarray] = []
    if request.timed:
        # The allocator of CUDA counts by itself; on the CPU nothing may slow this pass down.
        masks = _one_pass("timed", segmenter, request, TensorBytes(device) if device.type == "cuda" else None, tell)
    if device.type != "cuda" or not request.timed:
        counter = TensorBytes(device, 0 if device.type == "cuda" else network_bytes)
        counted = _one_pass("counted", segmenter, request, counter, tell)
        masks = masks if request.timed else counted
    if request.masks_to is not None and masks:
        np.savez_compressed(request.masks_to, masks=np.stack(masks))


def _load(request: SegmentRequest, tell: Tell) -> tuple[Segmenter, int]:
    """The segmenter and the bytes of its network."""
    started = perf_counter()
    file = read_checkpoint(request.weights)
    verify_hash(file)
    read = perf_counter()
    network = build_network(file.tensors, file.path)
    built = perf_counter()
    # The documents speak of the network as it is written, under autocast; modes that record have no other variant.
    runtime = RuntimeConfig(request.device, request.grad_mode, request.precision, "eager", threads=request.threads)
    segmenter = Segmenter(network, request.memory, runtime, request.data)
    tell(
        "loaded",
        read_seconds=read - started,
        build_seconds=built - read,
        network_bytes=bytes_of(network),
        loaded_resident_bytes=resident_bytes(),
    )
    return segmenter, bytes_of(network)


def _one_pass(
    name: str, segmenter: Segmenter, request: SegmentRequest, counter: TensorBytes | None, tell: Tell
) -> list[np.ndarray]:
    """Segment the clip once. Running out of memory ends the pass, not the process: partial figures count."""
    restart_peak()
    masks: list[np.ndarray] = []
    digest, reason = hashlib.sha256(), None
    try:
        with _limit(request):
            for mask, spent in _frames(segmenter, request, counter):
                masks.append(mask)
                digest.update(mask.tobytes())
                sizes = {} if counter is None else {"held_bytes": counter.held, "peak_bytes": counter.last_peak}
                tell("frame", of=name, index=len(masks) - 1, ms=spent, **sizes)
    except CeilingReached:
        reason = f"stopped at the ceiling of {request.ceiling_bytes / 1e9:g} GB"
    except EnvironmentFault as error:  # once the network is loaded, memory is all that can be missing
        reason = str(error)
    tell(
        "pass_done",
        name=name,
        oom=reason,
        frames_done=len(masks),
        peak_resident_bytes=peak_resident_bytes(),
        peak_tensor_bytes=None if counter is None else counter.peak,
        cuda_reserved_bytes=torch.cuda.max_memory_reserved() if segmenter.prepared.device.type == "cuda" else None,
        masks_sha256=digest.hexdigest(),
    )
    return masks


def _frames(
    segmenter: Segmenter, request: SegmentRequest, counter: TensorBytes | None
) -> Iterator[tuple[np.ndarray, float]]:
    """Mask and milliseconds of each frame, from upload to mask: the wait for the decoder is left out.

    All that a frame releases must be released while it is counted, so nothing of a result is handed on but
    a copy of its mask (the array itself lies in a tensor).
    """
    frames = [frame.image for frame in islice(open_frames(request.video, request.data), request.frames)]
    results = segmenter.segment(ArrayFrames(frames), LabelMask(np.load(request.mask)))
    while True:
        with nullcontext() if counter is None else counter.counting():
            result = next(results, None)
            if result is None:
                return
            spent = sum(time for stage, time in result.stage_ms.items() if stage != "read")
            mask = result.mask.copy()
            result = None
        yield mask, spent


def _limit(request: SegmentRequest) -> AbstractContextManager[None]:
    """The ceiling, on the memory that counts: resident size on the CPU, the device's own on CUDA."""
    if request.device is not Device.cuda:
        return ceiling(request.ceiling_bytes)
    total = torch.cuda.get_device_properties(0).total_memory
    torch.cuda.set_per_process_memory_fraction(min(1.0, request.ceiling_bytes / total))
    return nullcontext()
