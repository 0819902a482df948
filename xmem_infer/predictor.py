"""The front door: frames and masks in, a generator of label masks out.

Owns the number of threads, grad mode (outer) and precision (inner). They are entered around each frame's work
and left before the result is yielded, so that the caller's own torch code between two results runs as if
nothing were there.
"""

from collections.abc import Iterable, Iterator, Mapping
from math import isfinite
from pathlib import Path
from time import perf_counter

import numpy as np
import torch
from torch import Tensor

from .config import DataConfig, GradMode, MemoryConfig, RuntimeConfig
from .engine.engine import Engine
from .engine.objects import labels_to_take
from .engine.state import VideoState
from .errors import VideoError
from .io.frames import ArrayFrames, FrameSource, open_frames
from .io.masks import check_mask, mask_from_array, read_mask
from .io.read_ahead import ReadAhead
from .model.network import XMem
from .ops.images import normalise, resize, resize_labels, working_size
from .results import FrameResult, measure_given, read_labels
from .runtime.choice import choose
from .runtime.device import choose_device
from .runtime.grad_mode import grad_mode
from .runtime.limits import explain_out_of_memory, thread_count
from .runtime.stage_clock import StageClock
from .types import Frame, LabelMask
from .weights.build import load_network
from .weights.manifest import resolve_weights

MaskLike = LabelMask | np.ndarray | str | Path
Frames = FrameSource | str | Path | Iterable[np.ndarray]


class Segmenter:
    """A network ready to segment videos, any number of them, one after the other or interleaved.

    `precision` and `precision_reason` say what runs and why; `prepared` has the variant and what is active in
    it. Raises UsageError for a device, precision or variant that is not there.
    """

    def __init__(
        self,
        network: XMem,
        memory: MemoryConfig | None = None,
        runtime: RuntimeConfig | None = None,
        data: DataConfig | None = None,
    ):
        self.data = data or DataConfig()
        self.runtime = runtime or RuntimeConfig()
        self.prepared, self.precision_reason = choose(network, self.runtime, choose_device(self.runtime.device))
        self.precision = self.prepared.precision
        self.engine = Engine(self.prepared, memory or MemoryConfig())

    @classmethod
    def from_weights(
        cls,
        weights: str | Path = "auto",
        memory: MemoryConfig | None = None,
        runtime: RuntimeConfig | None = None,
        data: DataConfig | None = None,
    ) -> "Segmenter":
        """Load a checkpoint: a path, or a name of the manifest. Raises WeightsError."""
        return cls(load_network(resolve_weights(str(weights))).network, memory, runtime, data)

    def segment(
        self, frames: Frames, mask: MaskLike, later_masks: Mapping[str, MaskLike] | None = None
    ) -> Iterator[FrameResult]:
        """Segment a video: a FrameResult per frame, as soon as it is known.

        frames: a folder, a video file, or arrays (H, W, 3) uint8 RGB. mask: label image of the first frame.
        later_masks: by frame name, new objects or corrections (`labels_to_take` says which); they are read
        when their frame comes. Bad input is refused at the call, before anything is computed. Decoding runs
        ahead in a thread; closing the generator stops it.
        """
        if isinstance(frames, str | Path):
            source: FrameSource = open_frames(Path(frames), self.data)
        else:
            source = frames if isinstance(frames, FrameSource) else ArrayFrames(frames)
        first = self._mask(mask)
        check_mask(first, source.size)
        return self._run(source, first, later_masks or {})

    def _mask(self, mask: MaskLike) -> LabelMask:
        if isinstance(mask, LabelMask):
            return mask
        if isinstance(mask, np.ndarray):
            return mask_from_array(mask)
        return read_mask(Path(mask), self.data.max_pixels)

    def _run(self, source: FrameSource, first: LabelMask, later: Mapping[str, MaskLike]) -> Iterator[FrameResult]:
        state = self.engine.start()
        with ReadAhead(source) as frames:
            try:
                started = perf_counter()
                for frame, last in frames:
                    waited_ms = (perf_counter() - started) * 1000
                    given = first if frame.index == 0 else None
                    if given is None and frame.name in later:
                        given = self._mask(later[frame.name])
                        check_mask(given, source.size)
                    with (
                        thread_count(self.runtime.threads),
                        explain_out_of_memory(frame.name),
                        grad_mode(self.runtime.grad_mode),
                    ):
                        result = self._step(state, frame, given, last, {"read": waited_ms})
                    yield result
                    started = perf_counter()
            finally:
                if self.runtime.grad_mode is GradMode.enable_grad:
                    state.detach()  # graph and memory hold each other: nothing else would free them

    def _step(
        self, state: VideoState, frame: Frame, given: LabelMask | None, last: bool, stage_ms: dict[str, float]
    ) -> FrameResult:
        device, size = self.prepared.device, (frame.image.shape[0], frame.image.shape[1])
        clock = StageClock(device, stage_ms)
        taken = [] if given is None else labels_to_take(state.labels, np.unique(given.labels).tolist())
        with clock("upload"):
            image, mask = self._upload(frame, given)
        with clock("segment"):
            with self.prepared.context():
                prob = self.engine.step(state, image, mask, taken, end=last).detach()
            full = resize(prob, size)
        if self.runtime.grad_mode is GradMode.enable_grad_detached:
            state.detach()
        with clock("post"):
            # One number that is not finite makes the sum so, in a fortieth of the time that asking each one takes.
            if not isfinite(prob.sum(dtype=torch.float32).item()):
                raise VideoError(
                    f"frame {frame.name}: the network gave non-finite probabilities in {self.precision.value}; "
                    "no mask is better than a wrong one. Use runtime.precision=fp32 (or bf16)"
                )
            whole = given if given is not None and set(taken) == set(state.labels) else None
            if whole is not None:
                # The user's own mask of every object comes back untouched by resizing.
                labels, confidence = whole.labels, measure_given(full, state.labels, whole.labels)
            else:
                labels, confidence = read_labels(full, state.labels)
        return FrameResult(frame, labels, tuple(state.labels), confidence, stage_ms, prob, whole is not None)

    def _upload(self, frame: Frame, given: LabelMask | None) -> tuple[Tensor, Tensor | None]:
        """The frame, normalised and at working size, and its mask at the same size, on the device."""
        size = working_size(frame.image.shape[0], frame.image.shape[1], self.data.size)
        pixels = torch.from_numpy(np.ascontiguousarray(frame.image)).to(self.prepared.device)
        image = resize(normalise(pixels), size, self.data.antialias)
        if given is None:
            return image, None
        return image, resize_labels(torch.from_numpy(given.labels).to(self.prepared.device), size)
