"""One video of a run: skipped, or through the pipeline into files, with its record and times."""

import dataclasses
import logging
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from math import ceil
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
from tqdm import tqdm

from ..config import Direction, EvalConfig, OutputConfig
from ..datasets.layouts import DAVIS_SIZE
from ..datasets.video_input import VideoInput
from ..engine.drift import DriftSummary
from ..engine.state import VideoState
from ..interrupts import check
from ..io.atomic import Staged
from ..ops.images import STRIDE, working_size
from ..outputs.files import read_confidence
from ..outputs.protocol import OUTPUTS, VideoDetails
from ..outputs.writer import VideoWriter, chosen_outputs
from ..predictor import Segmenter
from ..results import Pass
from ..runtime.limits import free_bytes, memory_bytes
from ..scoring.pairing import read_ids
from .int8_watch import DiffersError, Int8Watch
from .intact import damage, described
from .jobs import is_tracked, working_sizes
from .provenance import peak_memory, reset_peak_memory
from .records import Record, Records, recorded_settings
from .stopped import REMADE, Stopped, forget, keep, kept
from .tracking import first_state, keep_memory, tracked

log = logging.getLogger(__name__)

DRAWN = frozenset(("overlay", "preview"))  # outputs that can be made of frames, masks and confidences alone


class VideoRun:
    """Segments videos with one loaded network into one output folder, whichever process it runs in."""

    def __init__(self, config: EvalConfig, output_dir: Path, segmenter: Segmenter):
        self.config = config
        self.output_dir = output_dir
        self.segmenter = segmenter
        self.records = Records(output_dir)

    def finished(self, video: VideoInput) -> dict[str, Any] | None:
        """The entry of a video that is done already, None for one that has to be done."""
        found = self._record(video)
        return {"status": "skipped", "frames": found.frames} if found and not self.damaged(video) else None

    def damaged(self, video: VideoInput) -> dict[str, str]:
        """What is wrong with the results of a video that was done already, by output; nothing for one that was not."""
        found = self._record(video)
        if found is None:
            return {}
        outputs = self._outputs(video)
        absent = "not written then" if found.outputs else None  # memory.save may be set in a later run alone
        recorded = {name: found.outputs.get(name, absent) for name in outputs}
        wrong = {name: damage(path, recorded[name], video.frames.size) for name, path in outputs.items()}
        return {name: words for name, words in wrong.items() if words is not None}

    def can_draw(self, outputs: Iterable[str]) -> bool:
        """Whether these outputs can be made without segmenting again."""
        return DRAWN.issuperset(outputs) and "masks" in chosen_outputs(self.config.output)

    def run(
        self, video: VideoInput, each_frame: Callable[[], None] | None = None, watch: Int8Watch | None = None
    ) -> dict[str, Any]:
        """Segment a video, put its files in place, record it; returns its entry for run.json.

        Where it was done and only outputs are damaged that can be drawn from its masks, that is all it does.

        each_frame: called after every frame, and may raise to give up; then no bar is shown. watch: of the run that
        went back.
        """
        wrong = self.damaged(video)
        if wrong and self.can_draw(wrong):
            return self._draw_again(video, list(wrong), each_frame)
        int8 = getattr(self.segmenter.prepared.network, "int8", None)
        watch = watch or (Int8Watch(int8) if int8 else None)
        reset_peak_memory(self.segmenter.prepared.device)
        started = perf_counter()
        stages: dict[str, list[float]] = defaultdict(list)
        object_ids: tuple[int, ...] = ()
        drift = DriftSummary()
        passes = passes_of(video, self.config)
        permanent = frozenset(video.masks) if self.config.data.permanent else frozenset[str]()
        stopped = self._stopped(video)
        self._warn_of_memory(video, passes, len(permanent))
        states = stopped.states if stopped else [first_state(self.segmenter, video) for _ in passes]
        done = stopped.result if stopped else None
        frames = 0
        try:
            with self._writer(video) as writer, _bar(video, each_frame) as bar:
                goes_on = None if is_tracked(self.config) else partial(self._keep, video, writer)
                for result in (
                    tracked(self.segmenter, video, self.config.direction)
                    if is_tracked(self.config)
                    else self.segmenter.segment_passes(
                        video.frames, video.masks, passes, permanent, states, done, video.complete
                    )
                ):
                    frames += 1
                    if watch is not None:
                        result = watch.look(result, frames, states, goes_on)
                    if video.is_saved(result.frame.name):
                        waiting = perf_counter()
                        scores = result.probabilities() if writer.needs_scores else None
                        writer.put(result.frame, result.mask, result.confidence, scores)
                        stages["write"].append((perf_counter() - waiting) * 1000)
                    for stage, spent_ms in result.stage_ms.items():
                        stages[stage].append(spent_ms)
                    object_ids = result.object_ids
                    drift.add(result.frame.name, result.confidence)
                    try:
                        _count_frame(bar, each_frame)
                    except KeyboardInterrupt:
                        # Workers have no time for it; and what is kept already stays until the video is done.
                        is_new = each_frame is None and (stopped is None or frames > stopped.record.frames)
                        if goes_on and is_new and goes_on(frames, states):
                            log.info(f"{video.name}: {frames} frames are kept; the same command goes on from there")
                        raise
                keep_memory(self.segmenter, video, None if is_tracked(self.config) else states[0])
                self.records.drop(video.name)  # its old results, if any, are replaced next
        except DiffersError:
            log.info(f"{video.name}: what int8 did since it last agreed with fp32 is segmented again")
            return self.run(video, each_frame, watch)
        entry = {
            "status": "incomplete" if video.frames.incomplete else "done",
            "size": video.frames.size,
            "objects": object_ids,
            "drift": drift.episodes(),
            **(watch.summary() if watch else {}),
            **times(stages, perf_counter() - started),
            "frames": frames,
            "peak_memory": peak_memory(self.segmenter.prepared.device),
            "warnings": [
                *(video.warnings if self.config.direction is Direction.forward else ()),  # frames before the first mask
                *video.frames.warnings,
            ],
        }
        self._write_record(video, frames)
        self.tidy(video)
        return entry

    def tidy(self, video: VideoInput) -> None:
        """Remove what stopped and killed runs left of a video that is done now."""
        with suppress(OSError):  # it does no harm: it is of no use once there is a record
            forget(self.records.stopped(video.name))
        for path in self._outputs(video).values():
            Staged(path).discard()

    def clear(self, video: VideoInput) -> None:
        """Remove what a killed process left unfinished of a video. Nobody may be working on it."""
        self._writer(video).abort()
        self.records.tidy(video.name)

    def _warn_of_memory(self, video: VideoInput, passes: Sequence[Pass], permanent: int) -> None:
        """Say so where the memory of this video may not fit into what is free on the device."""
        segmenter, config = self.segmenter, self.config.memory
        sizes = getattr(segmenter.prepared.network, "sizes", None)
        free = free_bytes(segmenter.prepared.device)
        if sizes is None or free is None:
            return
        frames = permanent if config.long_term else (video.frames.count or 0) // config.memory_every
        needed = 0
        for one in passes:
            height, width = working_size(*one.frames.size, one.size, segmenter.engine.conventions.enlarge)
            tokens = ceil(height / STRIDE) * ceil(width / STRIDE)
            dims = sizes.key_dim, sizes.value_dim
            needed += memory_bytes(config, tokens, len(video.object_ids), frames, dims)
        if needed > free:
            log.info(
                f"warning: {video.name}: its memory may take {needed / 2**30:.1f} GiB when full, "
                f"{free / 2**30:.1f} GiB are free. What lowers the need: data.size, memory.max_long_term_tokens and "
                "memory.max_working_frames (smaller), memory.long_term=true, fewer objects"
            )

    def _stopped(self, video: VideoInput) -> Stopped | None:
        """What an earlier run kept of this video."""
        folder = self.records.stopped(video.name)
        with suppress(OSError):
            Staged(folder).restore()
        if not folder.is_dir():
            return None
        found = kept(folder, self.wanted_record(video), self.segmenter.prepared.device)
        log.info(f"{video.name}: {'begun anew' if found is None else f'goes on after {found.record.frames} frames'}")
        return found

    def _keep(self, video: VideoInput, writer: VideoWriter, frames: int, states: Sequence[VideoState]) -> bool:
        """Keep what is done and say whether, where that is enough to make every output that is asked for."""
        outputs = chosen_outputs(self.config.output)
        if not REMADE.issuperset(outputs) or "masks" not in outputs:
            return False
        try:
            keep(self.records.stopped(video.name), self.wanted_record(video, frames), states, writer)
        except (OSError, RuntimeError) as error:  # torch.save raises the latter where the disk is full
            log.info(f"{video.name}: its first {frames} frames could not be kept: {error}")
            return False
        return True

    def _record(self, video: VideoInput) -> Record | None:
        """The record of a video that was done with the inputs as they are now."""
        found = self.records.read(video.name)
        return None if self.config.overwrite or found is None or found.inputs != video.fingerprint else found

    def _write_record(self, video: VideoInput, frames: int) -> None:
        record = self.wanted_record(video, frames)
        outputs = {name: described(path) for name, path in self._outputs(video).items()}
        self.records.write(video.name, dataclasses.replace(record, outputs=outputs))

    def _outputs(self, video: VideoInput) -> dict[str, Path]:
        """Where each output that is asked for lies, by its name."""
        details = VideoDetails(self.output_dir, video.name)
        outputs = {name: OUTPUTS[name](details).staged.final for name in chosen_outputs(self.config.output)}
        saved = self.config.memory.save
        return outputs if saved is None else {**outputs, "memory.save": Path(saved)}

    def _draw_again(self, video: VideoInput, names: list[str], each_frame: Callable[[], None] | None) -> dict[str, Any]:
        """Make DRAWN outputs from the masks and confidences on disk, as the run made them that wrote those."""
        folders = self._outputs(video)
        confidence = read_confidence(folders["confidence"])
        options = OutputConfig(masks=False, overlay="overlay" in names, preview="preview" in names)
        found = self._record(video)
        assert found is not None, "only what was done is drawn again"
        with self._writer(video, options) as writer, _bar(video, each_frame) as bar:
            for frame in filter(lambda frame: video.is_saved(frame.name), video.frames):
                writer.put(frame, read_ids(folders["masks"] / f"{frame.name}.png"), confidence.get(frame.name, {}))
                _count_frame(bar, each_frame)
        self._write_record(video, found.frames)
        return {"status": "done", "frames": found.frames, "drawn_again": names}

    def _writer(self, video: VideoInput, options: OutputConfig | None = None) -> VideoWriter:
        frames, source = video.frames, video.path if video.path.is_file() else None
        details = VideoDetails(self.output_dir, video.name, video.palette, frames.fps, video.saved_count, source)
        return VideoWriter(details, frames.size, options or self.config.output)

    def wanted_record(self, video: VideoInput, frames: int = 0) -> Record:
        """The record that `run` leaves: everything the masks depend on."""
        settings = recorded_settings(self.config)
        settings["runtime.precision"] = self.segmenter.prepared.precision.name
        settings["runtime.variant"] = self.segmenter.prepared.backend
        settings["data.antialias"] = self.segmenter.data.antialias
        settings["memory.kind"] = self.segmenter.engine.config.kind
        if (loaded := self.config.memory.load) is not None:
            settings["memory.load"] = f"{loaded} (sha256 {str(described(Path(loaded)))[:12]})"
        settings["runtime.device"] = self.segmenter.prepared.device.type
        settings["dataset"] = None if self.config.dataset is None else self.config.dataset.name
        given = list(video.masks.files.values())
        folder = given[0].parent.absolute() if given else "memory.load"
        masks = str(given[0].absolute()) if len(given) == 1 else f"{len(given)} files in {folder}"
        origin = {"video": str(video.path.absolute()), "masks": masks}
        return Record(video.fingerprint, self.segmenter.weights_sha256, settings, frames, origin)


def _bar(video: VideoInput, each_frame: Callable[[], None] | None) -> "tqdm[Any]":
    hidden = None if each_frame is None else True  # None: silent off a terminal
    return tqdm(total=video.frames.count, desc=video.name, unit="frame", leave=False, disable=hidden)


def _count_frame(bar: "tqdm[Any]", each_frame: Callable[[], None] | None) -> None:
    check()  # whether to stop: here nothing is held
    bar.update()
    if each_frame is not None:
        each_frame()


def passes_of(video: VideoInput, config: EvalConfig) -> list[Pass]:
    """The passes that a run makes over a video, plain ones first; a plain run is one pass."""
    passes = []
    for flipped in [False, True] if config.tta.flip else [config.tta.only_flipped]:
        for size in working_sizes(config):
            seen = (video.full_resolution if size != DAVIS_SIZE else None) or video
            passes.append(Pass(seen.frames, seen.masks, size, flipped))
    return passes


def times(stages: Mapping[str, list[float]], seconds: float) -> dict[str, Any]:
    """For run.json: frames per second by two definitions, and each stage's share. stages: ms of each frame.

    published_fps: from the frame on the device to its upsampled probabilities, first frame included, no
    warm-up. end_to_end_fps: wall clock from opening the video to its finished files.
    """
    segmenting = stages.get("segment", [])
    computing = sum(segmenting) / 1000
    summary = {}
    for stage, spent in stages.items():
        p50, p95 = np.percentile(spent, (50, 95))
        summary[stage] = {"p50_ms": float(p50), "p95_ms": float(p95), "total_s": sum(spent) / 1000}
    return {
        "frames": len(segmenting),
        "seconds": seconds,
        "end_to_end_fps": len(segmenting) / seconds,
        "published_fps": len(segmenting) / computing if computing else None,
        "stages": summary,
    }
