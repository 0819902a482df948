"""Work of a child process: segment a clip and report the cost of every frame."""

import hashlib
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import replace
from itertools import islice

import numpy as np
import torch

from ...config import RuntimeConfig
from ...errors import EnvironmentFault
from ...io.array_frames import ArrayFrames
from ...io.frames import open_frames
from ...predictor import Segmenter
from ...types import LabelMask
from ...weights.build import load_network
from ..child import Send
from ..resident import CeilingReached, ceiling, peak_resident_bytes, restart_peak
from .clip import with_objects
from .plan import Combination, Scene, Setup
from .tensor_bytes import TensorBytes, bytes_of


def segment(setup: Setup, combination: Combination, send: Send) -> None:
    """Load the network, segment the scene in one or two passes, and report memory and time per frame.

    Sends `loaded`; for each pass many `frame` and one `pass_done`; at the end `masks` (T, H, W).
    """
    network = load_network(setup.weights).network
    network_bytes = bytes_of(network)
    send("loaded", network_bytes=network_bytes)
    # The documents describe the network as written, under autocast; the modes that record support no other variant.
    runtime = RuntimeConfig(
        setup.device, combination.mode, combination.precision, "eager", threads=setup.config.runtime.threads
    )
    data = replace(setup.config.data, size=combination.scene.size)
    segmenter = Segmenter(network, setup.config.memory, runtime, data)
    device = segmenter.prepared.device
    if device.type == "cuda":
        total = torch.cuda.get_device_properties(device).total_memory
        torch.cuda.set_per_process_memory_fraction(min(1.0, setup.ceiling_bytes / total))
        masks = _one_pass(segmenter, setup, combination.scene, send, "timed", TensorBytes(device))
    else:
        masks = _one_pass(segmenter, setup, combination.scene, send, "timed", None) if setup.timed else []
        counter = TensorBytes(device, network_bytes)
        masks = _one_pass(segmenter, setup, combination.scene, send, "counted", counter) or masks
    if masks:
        send("masks", masks=np.stack(masks))


def _one_pass(
    segmenter: Segmenter, setup: Setup, scene: Scene, send: Send, name: str, counter: TensorBytes | None
) -> list[np.ndarray]:
    """Segment the clip once. Running out of memory ends the pass, not the process, so that partial results count."""
    restart_peak()
    masks: list[np.ndarray] = []
    digest, reason = hashlib.sha256(), None
    on_cuda = segmenter.prepared.device.type == "cuda"
    try:
        with nullcontext() if on_cuda else ceiling(setup.ceiling_bytes):
            for mask, spent in _frames(segmenter, setup, scene, counter):
                masks.append(mask)
                digest.update(mask.tobytes())
                sizes = {} if counter is None else {"held_bytes": counter.held, "peak_bytes": counter.last_peak}
                send("frame", of=name, ms=spent, **sizes)
    except CeilingReached:
        reason = f"stopped at the ceiling of {setup.ceiling_bytes / 1e9:g} GB"
    except EnvironmentFault as error:  # after the network is loaded, this can only mean that memory ran out
        reason = str(error)
    send(
        "pass_done",
        oom=reason,
        peak_resident_bytes=peak_resident_bytes(),
        peak_tensor_bytes=None if counter is None else counter.peak,
        cuda_reserved_bytes=torch.cuda.max_memory_reserved() if on_cuda else None,
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
