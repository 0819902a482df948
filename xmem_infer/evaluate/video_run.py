"""One video of a run: segment it, write its files, its record and its timings, or skip it."""

import dataclasses
import logging
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable
from contextlib import closing, suppress
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import Any

from tqdm import tqdm

from ..config import Direction, EvalConfig, OutputConfig
from ..datasets.video_input import VideoInput
from ..engine.drift import DriftSummary
from ..interrupts import check
from ..io.atomic import Staged
from ..outputs.files import read_confidence
from ..outputs.protocol import OUTPUTS, VideoDetails
from ..outputs.writer import VideoWriter, chosen_outputs, redrawable
from ..predictor import Segmenter
from ..scoring.pairing import read_ids
from .int8_watch import DiffersError, Int8Watch
from .jobs import uses_propagation
from .progress import load_progress, remove_progress, save_progress
from .provenance import peak_memory, reset_peak_memory, timings
from .records import Record, Records, find_damage, requested_record, summarize
from .tracking import initial_state, passes_of, save_video_memory, track_video, warn_of_memory

log = logging.getLogger(__name__)


class VideoRun:
    """Segments videos with one loaded network into one output folder, in the main process or in a worker."""

    def __init__(self, config: EvalConfig, output_dir: Path, segmenter: Segmenter):
        self.config = config
        self.output_dir = output_dir
        self.segmenter = segmenter
        self.records = Records(output_dir)

    def check_results(self, video: VideoInput) -> tuple[Record | None, dict[str, str]]:
        """Return the record of a finished video, else None, and what is damaged in its results, by output."""
        record = self.records.read(video.name)
        if self.config.overwrite or record is None or record.inputs != video.fingerprint:
            return None, {}
        absent = "not written then" if record.outputs else None  # such as memory.save, if only a later run sets it
        wrong = {
            name: find_damage(path, record.outputs.get(name, absent), video.frames.size)
            for name, path in self._outputs(video).items()
        }
        return record, {name: words for name, words in wrong.items() if words is not None}

    def can_redraw(self, outputs: Iterable[str]) -> bool:
        """Return whether these outputs can be rebuilt without segmenting again."""
        return redrawable(chosen_outputs(self.config.output)).issuperset(outputs)

    def run(
        self, video: VideoInput, each_frame: Callable[[], None] | None = None, watch: Int8Watch | None = None
    ) -> dict[str, Any]:
        """Segment a video, put its files in place, record it, and return its entry for run.json.

        If the video is finished and all damaged outputs can be rebuilt from its masks, only these are rebuilt.

        Args:
            video: The video.
            each_frame: Called after every frame; may raise to abort. If it is given, no progress bar is shown.
            watch: The comparisons of an earlier attempt that was rolled back because int8 differed.
        """
        record, wrong = self.check_results(video)
        if record and wrong and self.can_redraw(wrong):
            return self._redraw(video, record.frames, list(wrong), each_frame)
        int8 = getattr(self.segmenter.prepared.network, "int8", None)
        watch = watch or (Int8Watch(int8) if int8 else None)
        reset_peak_memory(self.segmenter.prepared.device)
        started = perf_counter()
        stages: dict[str, list[float]] = defaultdict(list)
        drift = DriftSummary()
        propagates, passes = uses_propagation(self.config), passes_of(video, self.config)
        permanent = frozenset(video.masks) if self.config.data.permanent else frozenset[str]()
        progress_folder, wanted = self.records.progress_folder(video.name), self.wanted_record(video)
        progress = load_progress(progress_folder, wanted, self.segmenter.prepared.device)
        warn_of_memory(self.segmenter, video, passes, len(permanent))
        states = progress.states if progress else [initial_state(self.segmenter, video) for _ in passes]
        done = progress.result if progress else None
        if propagates:
            results = track_video(self.segmenter, video, self.config.direction)
        else:
            results = self.segmenter.segment_passes(
                video.frames, video.masks, passes, permanent, states, done, video.complete
            )
        try:
            with self._writer(video) as writer, _bar(video, each_frame) as bar, closing(results):
                save = None if propagates else partial(save_progress, progress_folder, wanted, writer)
                for frames, result in enumerate(results, start=1):
                    if watch is not None:
                        result = watch.check(result, frames, states, save)
                    if video.is_saved(result.frame.name):
                        waiting = perf_counter()
                        scores = result.probabilities() if writer.needs_scores else None
                        writer.put(result.frame, result.mask, result.confidence, scores)
                        stages["write"].append((perf_counter() - waiting) * 1000)
                    for stage, spent_ms in result.stage_ms.items():
                        stages[stage].append(spent_ms)
                    drift.add(result.frame.name, result.confidence)
                    try:
                        _count_frame(bar, each_frame)
                    except KeyboardInterrupt:
                        # Workers have no time to save. Progress of an earlier run is not replaced by less.
                        is_new = each_frame is None and (progress is None or frames > progress.record.frames)
                        if save and is_new and save(frames, states):
                            log.info(f"{video.name}: {frames} frames are saved; run the same command again to resume")
                        raise
                save_video_memory(self.segmenter, video, None if propagates else states[0])
                self.records.path(video.name).unlink(missing_ok=True)  # older results are replaced when the block ends
        except DiffersError:
            log.info(f"{video.name}: the frames since int8 last agreed with fp32 are segmented again")
            return self.run(video, each_frame, watch)
        entry = {
            "status": "incomplete" if video.frames.incomplete else "done",
            "size": video.frames.size,
            "objects": result.object_ids,
            "drift": drift.episodes(),
            **(watch.summary() if watch else {}),
            "frames": frames,
            **timings(stages, perf_counter() - started),
            "peak_memory": peak_memory(self.segmenter.prepared.device),
            "warnings": [
                # These warnings concern frames before the first mask, which other directions segment.
                *(video.warnings if self.config.direction is Direction.forward else ()),
                *video.frames.warnings,
            ],
        }
        self._write_record(video, wanted, frames, writer.failed)
        self.remove_leftovers(video)
        if writer.failed:
            names = " and ".join(writer.failed)
            log.info(f"{video.name}: its masks are written; run the same command again to draw {names}")
            raise next(iter(writer.failed.values()))
        return entry

    def remove_leftovers(self, video: VideoInput) -> None:
        """Remove what interrupted and killed runs left of a video that is finished now."""
        with suppress(OSError):  # harmless if it stays: saved progress is ignored once there is a record
            remove_progress(self.records.progress_folder(video.name))
        for path in self._outputs(video).values():
            Staged(path).discard()

    def clear(self, video: VideoInput) -> None:
        """Remove the partial outputs of a killed process. No other process may be working on the video."""
        self._writer(video).abort()
        Staged(self.records.path(video.name)).discard()

    def _write_record(self, video: VideoInput, record: Record, frames: int, failed: Collection[str] = ()) -> None:
        outputs = {name: summarize(path) for name, path in self._outputs(video).items() if name not in failed}
        self.records.write(video.name, dataclasses.replace(record, frames=frames, outputs=outputs))

    def _outputs(self, video: VideoInput) -> dict[str, Path]:
        """Return the path of each requested output, by name."""
        details = VideoDetails(self.output_dir, video.name)
        outputs = {name: OUTPUTS[name](details).staged.final for name in chosen_outputs(self.config.output)}
        saved = self.config.memory.save
        return outputs if saved is None else {**outputs, "memory.save": Path(saved)}

    def _redraw(
        self, video: VideoInput, frames: int, names: list[str], each_frame: Callable[[], None] | None
    ) -> dict[str, Any]:
        """Rebuild outputs from the saved masks and confidences; they equal those that the run itself wrote."""
        folders = self._outputs(video)
        confidence = read_confidence(folders["confidence"])
        options = OutputConfig(masks=False, overlay="overlay" in names, preview="preview" in names)
        with self._writer(video, options) as writer, _bar(video, each_frame) as bar:
            for frame in filter(lambda frame: video.is_saved(frame.name), video.frames):
                writer.put(frame, read_ids(folders["masks"] / f"{frame.name}.png"), confidence.get(frame.name, {}))
                _count_frame(bar, each_frame)
        self._write_record(video, self.wanted_record(video), frames)
        return {"status": "done", "frames": frames, "drawn_again": names}

    def _writer(self, video: VideoInput, options: OutputConfig | None = None) -> VideoWriter:
        frames, source = video.frames, video.path if video.path.is_file() else None
        details = VideoDetails(self.output_dir, video.name, video.palette, frames.fps, video.saved_count, source)
        return VideoWriter(details, options or self.config.output)

    def wanted_record(self, video: VideoInput) -> Record:
        """Return the record that `run` writes, without frames and outputs: everything that the masks depend on."""
        segmenter, record = self.segmenter, requested_record(self.config, video)
        resolved = {
            "runtime.precision": segmenter.prepared.precision.name,
            "runtime.variant": segmenter.prepared.backend,
            "runtime.device": segmenter.prepared.device.type,
            "data.antialias": segmenter.data.antialias,
            "memory.kind": segmenter.engine.config.kind,
        }
        return dataclasses.replace(record, weights=segmenter.weights_sha256, settings=record.settings | resolved)


def _bar(video: VideoInput, each_frame: Callable[[], None] | None) -> "tqdm[Any]":
    hidden = None if each_frame is None else True  # None: hidden if the output is no terminal
    return tqdm(total=video.frames.count, desc=video.name, unit="frame", leave=False, disable=hidden)


def _count_frame(bar: "tqdm[Any]", each_frame: Callable[[], None] | None) -> None:
    check()  # stop here if a signal was received: no lock is held
    bar.update()
    if each_frame is not None:
        each_frame()
