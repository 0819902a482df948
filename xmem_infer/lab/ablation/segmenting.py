"""In the child: segment a clip and report what every frame costs."""

import hashlib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from time import perf_counter

import numpy as np
import torch

from ...config import Device, RuntimeConfig
from ...errors import EnvironmentFault
from ...io.frames import open_frames
from ...predictor import Segmenter
from ...types import LabelMask
from ...weights.build import build_network
from ...weights.files import read_checkpoint, verify_hash
from .clip import FirstFrames
from .requests import SegmentRequest
from .resident import CeilingReached, ceiling, peak_resident_bytes, resident_bytes, restart_peak
from .tensor_bytes import TensorBytes, bytes_of

Tell = Callable[..., None]


@dataclass
class Seen:
    """The masks of a pass so far."""

    masks: list[np.ndarray] = field(default_factory=list)

    def sha256(self) -> str:
        digest = hashlib.sha256()
        for mask in self.masks:
            digest.update(mask.tobytes())
        return digest.hexdigest()


def segment(request: SegmentRequest, tell: Tell) -> None:
    """Load, segment in one or two passes, tell: loaded, pass, frame (many), pass_done."""
    segmenter, network_bytes = _load(request, tell)
    on_gpu = segmenter.prepared.device.type == "cuda"
    seen = Seen()
    if request.timed:
        # The allocator of CUDA counts by itself; on the CPU nothing may slow this pass down.
        counter = TensorBytes(segmenter.prepared.device) if on_gpu else None
        seen = _one_pass("timed", segmenter, request, counter, tell)
    if not on_gpu or not request.timed:
        counter = TensorBytes(segmenter.prepared.device, 0 if on_gpu else network_bytes)
        counted = _one_pass("counted", segmenter, request, counter, tell)
        seen = seen if request.timed else counted
    if request.masks_to is not None and seen.masks:
        np.savez_compressed(request.masks_to, masks=np.stack(seen.masks))


def _load(request: SegmentRequest, tell: Tell) -> tuple[Segmenter, int]:
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
        prepare_seconds=perf_counter() - built,
        network_bytes=bytes_of(network),
        resident_bytes=resident_bytes(),
        weights_sha256=file.sha256,
    )
    return segmenter, bytes_of(network)


def _one_pass(
    name: str, segmenter: Segmenter, request: SegmentRequest, counter: TensorBytes | None, tell: Tell
) -> Seen:
    """Segment the clip once. Running out of memory ends the pass, not the process: partial figures count."""
    restart_peak()
    tell("pass", name=name)
    seen, reason = Seen(), None
    try:
        with _limit(request):
            for frame_name, labels, spent in _frames(segmenter, request, counter):
                seen.masks.append(labels)
                tell(
                    "frame",
                    index=len(seen.masks) - 1,
                    name=frame_name,
                    ms=spent,
                    resident_bytes=resident_bytes(),
                    **({} if counter is None else {"held_bytes": counter.held, "peak_bytes": counter.last_peak}),
                )
    except CeilingReached:
        reason = f"stopped at the ceiling of {request.ceiling_bytes / 1e9:g} GB"
    except EnvironmentFault as error:  # once the network is loaded, memory is all that can be missing
        reason = str(error)
    tell(
        "pass_done",
        name=name,
        oom=reason,
        frames_done=len(seen.masks),
        peak_resident_bytes=peak_resident_bytes(),
        peak_tensor_bytes=None if counter is None else counter.peak,
        cuda_reserved_bytes=torch.cuda.max_memory_reserved() if segmenter.prepared.device.type == "cuda" else None,
        masks_sha256=seen.sha256(),
    )
    return seen


def _frames(
    segmenter: Segmenter, request: SegmentRequest, counter: TensorBytes | None
) -> Iterator[tuple[str, np.ndarray, float]]:
    """Name, labels and milliseconds of each frame, from upload to labels: the wait for the decoder is left out.

    All that a frame releases must be released while it is counted, so nothing of a result is handed on but
    a copy of its labels (the array itself lies in a tensor).
    """
    source = FirstFrames(open_frames(request.video, request.data), request.frames)
    results = segmenter.segment(source, LabelMask(np.load(request.mask)))
    while True:
        with nullcontext() if counter is None else counter.counting():
            result = next(results, None)
            if result is None:
                return
            spent = sum(time for stage, time in result.stage_ms.items() if stage != "read")
            name, labels = result.frame.name, result.mask.copy()
            result = None
        yield name, labels, spent


def _limit(request: SegmentRequest) -> AbstractContextManager[None]:
    """The ceiling, on the memory that counts: resident size on the CPU, the device's own on CUDA."""
    if request.device is not Device.cuda:
        return ceiling(request.ceiling_bytes)
    total = torch.cuda.get_device_properties(0).total_memory
    torch.cuda.set_per_process_memory_fraction(min(1.0, request.ceiling_bytes / total))
    return nullcontext()
