"""Work of a child process: segment a clip and report the cost of every frame."""

import hashlib
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from functools import partial
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
from ...weights.manifest import require_hash
from ..child import Send
from ..resident import CeilingReached, ceiling, peak_resident_bytes, resident_bytes, restart_peak
from .clip import with_objects
from .plan import Combination, Scene, Setup
from .tensor_bytes import TensorBytes, bytes_of


def segment(setup: Setup, combination: Combination, send: Send) -> None:
    """Load the network, segment the scene in one or two passes, and report memory and time per frame.

    Sends `loaded`; for each pass many `frame` and one `pass_done`; at the end `masks` (T, H, W).
    """
    segmenter, network_bytes = _load(setup, combination, send)
    one_pass = partial(_one_pass, segmenter, setup, combination.scene, send)
    device = segmenter.prepared.device
    masks: list[np.ndarray] = []
    if setup.timed:
        # CUDA's allocator counts at no cost. On the CPU counting would slow this pass down, so it is done in a second.
        masks = one_pass("timed", TensorBytes(device) if device.type == "cuda" else None)
    if device.type != "cuda" or not setup.timed:
        counted = one_pass("counted", TensorBytes(device, 0 if device.type == "cuda" else network_bytes))
        masks = masks if setup.timed else counted
    if masks:
        send("masks", masks=np.stack(masks))


def _load(setup: Setup, combination: Combination, send: Send) -> tuple[Segmenter, int]:
    """Return the segmenter and the size of its network in bytes."""
    started = perf_counter()
    file = read_checkpoint(setup.weights)
    require_hash(file.path, file.sha256)
    read = perf_counter()
    network = build_network(file.tensors, file.path)
    built = perf_counter()
    # The documents describe the network as written, under autocast; the modes that record support no other variant.
    modes, threads = (combination.grad_mode, combination.precision), setup.config.runtime.threads
    runtime = RuntimeConfig(setup.device, *modes, "eager", threads=threads)
    data = replace(setup.config.data, size=combination.scene.size)
    segmenter = Segmenter(network, setup.config.memory, runtime, data)
    seconds, network_bytes = {"read_seconds": read - started, "build_seconds": built - read}, bytes_of(network)
    send("loaded", **seconds, network_bytes=network_bytes, loaded_resident_bytes=resident_bytes())
    return segmenter, network_bytes


def _one_pass(
    segmenter: Segmenter, setup: Setup, scene: Scene, send: Send, name: str, counter: TensorBytes | None
) -> list[np.ndarray]:
    """Segment the clip once. Running out of memory ends the pass, not the process, so that partial results count."""
    restart_peak()
    masks: list[np.ndarray] = []
    digest, reason = hashlib.sha256(), None
    try:
        with _limit(setup):
            for mask, spent in _frames(segmenter, setup, scene, counter):
                masks.append(mask)
                digest.update(mask.tobytes())
                sizes = {} if counter is None else {"held_bytes": counter.held, "peak_bytes": counter.last_peak}
                send("frame", of=name, index=len(masks) - 1, ms=spent, **sizes)
    except CeilingReached:
        reason = f"stopped at the ceiling of {setup.ceiling_bytes / 1e9:g} GB"
    except EnvironmentFault as error:  # after the network is loaded, this can only mean that memory ran out
        reason = str(error)
    send(
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
    segmenter: Segmenter, setup: Setup, scene: Scene, counter: TensorBytes | None
) -> Iterator[tuple[np.ndarray, float]]:
    """Yield mask and milliseconds of each frame. The time is from upload to mask, without waiting for the decoder.

    Everything that a frame allocates must be released while it is counted, so only a copy of the mask leaves this
    function; the mask itself shares memory with a tensor.
    """
    frames = [frame.image for frame in islice(open_frames(setup.clip.path, setup.config.data), scene.frames)]
    results = segmenter.segment(ArrayFrames(frames), LabelMask(with_objects(setup.clip.first, scene.objects)[0]))
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
    """Return the ceiling on the relevant memory: resident size on the CPU, the device's own memory on CUDA."""
    if setup.device is not Device.cuda:
        return ceiling(setup.ceiling_bytes)
    total = torch.cuda.get_device_properties(0).total_memory
    torch.cuda.set_per_process_memory_fraction(min(1.0, setup.ceiling_bytes / total))
    return nullcontext()
