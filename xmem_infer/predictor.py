"""`Segmenter`: segment a video from its frames and given masks, frame by frame.

The number of threads, the gradient mode (outer) and the precision (inner) are set around the work on each frame and
restored before its result is yielded, so that torch code of the caller between two results is not affected.
"""

from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import replace
from itertools import chain
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from .config import DataConfig, Device, GradMode, MemoryConfig, Precision, RuntimeConfig
from .engine.drift import mean_keys
from .engine.engine import Engine, annotated_ids
from .engine.state import VideoState, absent_ids
from .errors import NonFiniteError, UsageError
from .io.array_frames import ArrayFrames
from .io.frames import FrameSource, open_frames, read_ahead
from .io.given_masks import CheckedMasks, MaskLike, frame_names
from .io.masks import check_mask
from .ops.images import normalise, resize, resize_labels, working_size
from .ops.masks import confidence_inside, most_probable
from .results import FrameResult, Pass, Prediction, Results, all_reached
from .runtime.choice import choose
from .runtime.contexts import explain_out_of_memory, grad_mode, thread_count, timed
from .runtime.device import choose_device
from .types import Frame, LabelMask
from .weights.build import load_network
from .weights.manifest import resolve_weights

Frames = FrameSource | str | Path | Iterable[np.ndarray] | Iterable[Tensor] | Iterable[Image.Image]


class Segmenter:
    """Segments videos with one network: any number of videos, one after the other or interleaved.

    Attributes:
        prepared: The prepared network with its backend, device, precision and active optimisations.
        precision_reason: Why the network runs in `prepared.precision`.
        weights_sha256: Hash of the checkpoint, stored in memory files; empty if unknown.
    """

    def __init__(
        self,
        network: nn.Module,
        memory: MemoryConfig | None = None,
        runtime: RuntimeConfig | None = None,
        data: DataConfig | None = None,
        weights_sha256: str = "",
    ):
        """Prepare a network, for example one from `load_network`; settings that are None have their defaults.

        Raises:
            UsageError: A device, precision, backend or memory is not available.
        """
        self.runtime, self.weights_sha256 = runtime or RuntimeConfig(), weights_sha256
        self.prepared, self.precision_reason = choose(network, self.runtime, choose_device(self.runtime.device))
        self.engine = Engine(self.prepared.network, memory or MemoryConfig())
        self.data = data or DataConfig()
        if self.data.antialias is None:
            self.data = replace(self.data, antialias=self.engine.conventions.antialias)

    @classmethod
    def from_weights(
        cls,
        weights: str | Path = "auto",
        memory: MemoryConfig | None = None,
        runtime: RuntimeConfig | None = None,
        data: DataConfig | None = None,
        *,
        device: Device | str | None = None,
        precision: Precision | str | None = None,
        size: int | None = None,
    ) -> "Segmenter":
        """Create a segmenter from a checkpoint.

        Args:
            weights: Path of a checkpoint, or name of a published one. `auto` is the first published checkpoint that is
                present, else the small model included in this package.
            memory: Settings of the memory.
            runtime: Settings of device, precision and backend.
            data: Settings of image size and decoding.
            device: `auto`, `cpu`, `cuda` or `mps`; overrides `runtime.device`.
            precision: `auto`, `fp32`, `tf32`, `bf16`, `fp16` or `int8`; overrides `runtime.precision`.
            size: Short side inside the network in px, -1 = original; overrides `data.size`.

        Raises:
            WeightsError: The file is missing, damaged, unsafe or does not fit the network.
            UsageError: A setting is not possible.
        """
        asked: dict[str, Any] = {"device": device, "precision": precision}
        runtime = replace(runtime or RuntimeConfig(), **{name: value for name, value in asked.items() if value})
        data = data if size is None else replace(data or DataConfig(), size=size)
        loaded = load_network(resolve_weights(str(weights)))
        return cls(loaded.network, memory, runtime, data, loaded.sha256)

    def __repr__(self) -> str:
        made = self.prepared
        return f"Segmenter({made.backend} on {made.device} in {made.precision.value}, size {self.data.size})"

    def segment(
        self,
        frames: Frames,
        mask: MaskLike,
        later_masks: Mapping[str, MaskLike] | Mapping[int, MaskLike] | None = None,
        permanent: Iterable[str | int] = (),
        complete: bool | Iterable[str | int] = False,
    ) -> Results:
        """Segment a video; the returned iterator yields a FrameResult for each frame as soon as it is computed.

        A thread decodes frames ahead; `close` stops it. `len` is the number of frames, if the source knows it.

        Args:
            frames: A folder, a video file, or images: arrays (H, W, 3) uint8 RGB, tensors, PIL images.
            mask: Label image of the first frame: a file, an array, a tensor or a PIL image.
            later_masks: Masks with new objects or corrections, by frame name (the stem of its file, or its number with
                five digits) or by index from 0. Objects that such a mask does not show keep their prediction on pixels
                that it leaves unpainted. Files are read when their frame is reached.
            permanent: Frames that stay in memory for the whole video, by name or index.
            complete: Which later masks show every object, so that an object missing in them is absent on that frame:
                True for all, False for none, or the names or indices of their frames.

        Raises:
            UsageError: An argument is invalid; raised by the call, before anything is computed. If the video turns out
                to be shorter than a frame that was named, raised at its end.
            VideoError: A frame cannot be read or segmented; raised while iterating.
        """
        if isinstance(frames, str | Path):
            source: FrameSource = open_frames(Path(frames), self.data)
        else:
            source = frames if isinstance(frames, FrameSource) else ArrayFrames(frames)
        given = CheckedMasks(source, mask, later_masks or {}, self.data.max_pixels)
        kept = frozenset(frame_names(source, permanent, "permanent").values())
        whole = frozenset(given if complete is True else frame_names(source, complete or (), "complete").values())
        stream = self.segment_passes(source, given, [Pass(source, given, self.data.size)], kept, complete=whole)
        return Results(all_reached(stream, {*given, *kept, *whole}), source.count)

    def segment_passes(
        self,
        frames: FrameSource,
        masks: Mapping[str, LabelMask],
        passes: Sequence[Pass],
        permanent: frozenset[str] = frozenset(),
        states: Sequence[VideoState] | None = None,
        done: Callable[[Frame], FrameResult | None] | None = None,
        complete: frozenset[str] = frozenset(),
    ) -> Generator[FrameResult, None, None]:
        """Segment a video in one or several passes in lock-step, and average their probabilities on each frame.

        Args:
            frames: The video at the size of the results.
            masks: Given masks at that size, by frame name.
            passes: Inputs of the network in each pass; all passes have the same frames and objects.
            permanent: Names of frames that stay in memory for the whole video.
            states: State of each pass, updated in place; None to start at the beginning of the video.
            done: To resume a video: returns the result of a frame that is finished, else None. `states` are those after
                the last finished frame.
            complete: Names of frames whose mask shows every object.

        Yields:
            The result of each frame, finished ones included.
        """
        states = states or [self.start() for _ in passes]
        sources = list({id(source): source for source in (frames, *(view.frames for view in passes))}.values())
        with ExitStack() as stack:
            if self.runtime.grad_mode is GradMode.enable_grad:
                for state in states:  # the graph and the memory refer to each other and would never be freed
                    stack.callback(state.detach)
            readers = [stack.enter_context(closing(read_ahead(source))) for source in sources]
            started = perf_counter()
            for read in zip(*readers, strict=True):
                waited_ms = (perf_counter() - started) * 1000
                frame, last = read[0]
                if done is not None and (finished := done(frame)) is not None:
                    yield finished
                    started = perf_counter()
                    continue
                given = masks.get(frame.name)
                with self.running(frame.name):
                    predictions = []
                    for view, state in zip(passes, states, strict=True):
                        seen, _ = read[sources.index(view.frames)]
                        mask = given if view.masks is masks else view.masks.get(seen.name)
                        kept, whole = seen.name in permanent, seen.name in complete
                        predictions.append(self.predict(state, seen, mask, kept, last, view.size, view.flipped, whole))
                    result = self.result(frame, predictions, given, {"read": waited_ms})
                    if (key := states[0].key) is not None:
                        keys, shown = mean_keys(key, predictions[0].prob), given.object_ids() if given else ()
                        confidence = states[0].drift.look(result.mask, result.confidence, keys, shown)
                        result = replace(result, confidence=confidence)
                yield result
                started = perf_counter()

    def start(self) -> VideoState:
        """Return the state of a video before its first frame, for `predict`."""
        return self.engine.start()

    def predict(
        self,
        state: VideoState,
        frame: Frame,
        given: LabelMask | None = None,
        permanent: bool = False,
        end: bool = False,
        size: int | None = None,
        flipped: bool = False,
        complete: bool = False,
    ) -> Prediction:
        """Segment the next frame of a video, without resizing the probabilities back; see `result`.

        Args:
            state: State of the video, from `start`; updated in place.
            frame: The frame, as `Frame(index, name, image)`.
            given: A mask with new objects or a correction, as `LabelMask(ids)`, of the frame's size.
            permanent: Whether the frame stays in memory for the whole video.
            end: Whether this is the last frame, after which memory is not read any more.
            size: Short side inside the network in px, -1 = original; None: `data.size`.
            flipped: Whether the network sees the frame mirrored left to right.
            complete: Whether the mask shows every object, see `segment`.

        Raises:
            UsageError: The image has a wrong type or another size than earlier frames, or the mask another size.
            NonFiniteError: The probabilities are not finite.
        """
        if frame.image.ndim != 3 or frame.image.shape[2] != 3 or frame.image.dtype != np.uint8:
            got = f"{frame.image.shape} {frame.image.dtype}"
            raise UsageError(f"frame {frame.name}: its image must be (height, width, 3) uint8 RGB, got {got}")
        if given is not None:
            check_mask(given, (frame.image.shape[0], frame.image.shape[1]), f"frame {frame.name}")
        image = frame.image[:, ::-1] if flipped else frame.image
        conventions, device = self.engine.conventions, self.prepared.device
        absent = absent_ids(state.absent, frame.index)
        annotated: list[int] = []
        mask = None
        spent: dict[str, float] = {}
        with timed("upload", device, spent):
            wanted = self.data.size if size is None else size
            work = working_size(image.shape[0], image.shape[1], wanted, conventions.enlarge)
            pixels = torch.from_numpy(np.ascontiguousarray(image)).to(device)
            pixels = resize(normalise(pixels), work, bool(self.data.antialias))
            if given is not None:
                annotated = annotated_ids(state.object_ids, [*given.object_ids(), *absent], complete)
                ids = np.ascontiguousarray(given.ids[:, ::-1] if flipped else given.ids)
                mask = resize_labels(torch.from_numpy(ids).to(device), work, conventions.mask_resize)
        with timed("segment", device, spent), self.prepared.context():
            try:
                prob = self.engine.step(state, pixels, mask, annotated, permanent, end, False, absent).detach()
            except NonFiniteError as error:
                raise NonFiniteError(
                    f"frame {frame.name}: {error} in {self.prepared.precision.value}; "
                    "no mask is better than a wrong one. Use runtime.precision=fp32 (or bf16)"
                ) from None
        if self.runtime.grad_mode is GradMode.enable_grad_detached:
            state.detach()
        complete = given is not None and set(annotated) == set(state.object_ids)
        return Prediction(prob, flipped, tuple(state.object_ids), complete, spent)

    def result(
        self,
        frame: Frame,
        predictions: Sequence[Prediction],
        given: LabelMask | None = None,
        stage_ms: dict[str, float] | None = None,
    ) -> FrameResult:
        """Compute the mask of a frame, at the frame's own size, from the mean probabilities of its predictions.

        Each pixel gets the most probable object. A given mask that annotates every object is returned unchanged.

        Args:
            frame: The frame.
            predictions: The prediction of each pass, from `predict`.
            given: The mask given for this frame, if any.
            stage_ms: Milliseconds spent on other stages, to be included in the result.
        """
        first, size = predictions[0], (frame.image.shape[0], frame.image.shape[1])
        assert all(other.object_ids == first.object_ids for other in predictions), "all passes see the same objects"
        spent = dict(stage_ms or {})
        for stage, milliseconds in chain.from_iterable(prediction.stage_ms.items() for prediction in predictions):
            spent[stage] = spent.get(stage, 0.0) + milliseconds
        with timed("post", self.prepared.device, spent), torch.no_grad():
            turned = ((resize(view.prob, size), view.flipped) for view in predictions)
            probs = [prob.flip(-1) if flipped else prob for prob, flipped in turned]
            mean = probs[0] if len(probs) == 1 else sum(probs[1:], probs[0]) / len(probs)
            if given is not None and first.complete:
                mask, confidence = given.ids, confidence_inside(mean, first.object_ids, given.ids)
            else:
                mask, confidence = most_probable(mean, first.object_ids)
        prob = first.prob if len(predictions) == 1 and not first.flipped else mean
        return FrameResult(frame, mask, first.object_ids, confidence, spent, prob, given is not None and first.complete)

    @contextmanager
    def running(self, frame: str) -> Iterator[None]:
        """Set the number of threads and the gradient mode for the work on one frame, and explain out-of-memory errors.

        frame: Name of the frame, for error messages.
        """
        with thread_count(self.runtime.threads), explain_out_of_memory(frame), grad_mode(self.runtime.grad_mode):
            yield
