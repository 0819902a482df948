"""In the child: segment a clip and report what every frame costs."""

import hashlib
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from itertools import islice
from time import perf_counter

import numpy as np
import torch

from ...config import Device, RuntimeConfig
from ...errors import EnvironmentFault
from ...io.array_frames import ArrayFrames
from ...io.frames import open_frames
from ...predictor import Segmenter
from ...types import LabelMask
from ...weights.build import build_network
from ...weights.files import read_checkpoint
from ...weights.hashes import require_hash
from ..child import Tell
from ..resident import CeilingReached, ceiling, peak_resident_bytes, resident_bytes, restart_peak
from .clip import with_objects
from .plan import Combination, Setup
from .tensor_bytes import TensorBytes, bytes_of


@dataclass(frozen=True)
class SegmentRequest:
    """Segment a scene and report memory and time per frame."""

    setup: Setup
    combination: Combination


def segment(request: SegmentRequest, tell: Tell) -> None:
    """Load, segment in one or two passes, tell: loaded; of each pass frame (many) and pass_done; masks (T, H, W)."""
    segmenter, network_bytes = _load(request, tell)
    device = segmenter.prepared.device
    masks: list[np.ndarray] = []
    if request.setup.timed:
        # The allocator of CUDA counts by itself; on the CPU nothing may slow this pass down.
        masks = _one_pass("timed", segmenter, request, TensorBytes(device) if device.type == "cuda" else None, tell)
    if device.type != "cuda" or not request.setup.timed:
        counter = TensorBytes(device, 0 if device.type == "cuda" else network_bytes)
        counted = _one_pass("counted", segmenter, request, counter, tell)
        masks = masks if request.setup.timed else counted
    if masks:
        tell("masks", masks=np.stack(masks))


def _load(request: SegmentRequest, tell: Tell) -> tuple[Segmenter, int]:
    """The segmenter and the bytes of its network."""
    started = perf_counter()
    file = read_checkpoint(request.setup.weights)
    require_hash(file.path, file.sha256)
    read = perf_counter()
    network = build_network(file.tensors, file.path)
    built = perf_counter()
    # The documents speak of the network as it is written, under autocast; modes that record have no other variant.
    setup, what = request.setup, request.combination
    runtime = RuntimeConfig(setup.device, what.grad_mode, what.precision, "eager", threads=setup.config.runtime.threads)
    data = replace(setup.config.data, size=what.scene.size)
    segmenter = Segmenter(network, setup.config.memory, runtime, data)
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
        with _limit(request.setup):
            for mask, spent in _frames(segmenter, request, counter):
                masks.append(mask)
                digest.update(mask.tobytes())
                sizes = {} if counter is None else {"held_bytes": counter.held, "peak_bytes": counter.last_peak}
                tell("frame", of=name, index=len(masks) - 1, ms=spent, **sizes)
    except CeilingReached:
        reason = f"stopped at the ceiling of {request.setup.ceiling_bytes / 1e9:g} GB"
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
    clip, scene = request.setup.clip, request.combination.scene
    frames = [frame.image for frame in islice(open_frames(clip.path, request.setup.config.data), scene.frames)]
    results = segmenter.segment(ArrayFrames(frames), LabelMask(with_objects(clip.first, scene.objects)[0]))
    while True:
        with nullcontext() if counter is None else counter.counting():
            result = next(results, None)
            if result is None:
                return
            spent = sum(time for stage, time in result.stage_ms.items() if stage != "read")
            mask = result.mask.copy()
            result = None
        yield mask, spent


def _limit(setup: Setup) -> AbstractContextManager[None]:
    """The ceiling, on the memory that counts: resident size on the CPU, the device's own on CUDA."""
    if setup.device is not Device.cuda:
        return ceiling(setup.ceiling_bytes)
    total = torch.cuda.get_device_properties(0).total_memory
    torch.cuda.set_per_process_memory_fraction(min(1.0, setup.ceiling_bytes / total))
    return nullcontext()
