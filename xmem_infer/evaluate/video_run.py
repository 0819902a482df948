"""One video of a run: skipped, or through the pipeline into files, with its record and times."""

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from tqdm import tqdm

from ..config import EvalConfig
from ..datasets.video_input import VideoInput
from ..interrupts import check
from ..outputs.writer import VideoWriter
from ..predictor import Segmenter
from .provenance import peak_memory, reset_peak_memory
from .records import Record, Records
from .timing import VideoClock
from .tta import segment_video


class VideoRun:
    """Segments videos with one loaded network into one output folder, whichever process it runs in."""

    def __init__(self, config: EvalConfig, output_dir: Path, segmenter: Segmenter, weights_sha256: str):
        self.config = config
        self.output_dir = output_dir
        self.segmenter = segmenter
        self.weights_sha256 = weights_sha256
        self.records = Records(output_dir)

    def finished(self, video: VideoInput) -> dict[str, Any] | None:
        """The entry of a video that is done already, None for one that has to be done."""
        found = self.records.read(video.name)
        if self.config.overwrite or found is None or found.inputs != video.fingerprint:
            return None
        return {"status": "skipped", "frames": found.frames}

    def run(self, video: VideoInput, each_frame: Callable[[], None] | None = None) -> dict[str, Any]:
        """Segment a video, put its files in place, record it; returns its entry for run.json.

        each_frame: called after every frame, and may raise to give up; then no bar is shown.
        """
        self.records.drop(video.name)
        reset_peak_memory(self.segmenter.prepared.device)
        clock = VideoClock()
        object_ids: tuple[int, ...] = ()
        # disable=None: silent off a terminal
        hidden = None if each_frame is None else True
        bar = tqdm(total=video.frames.count, desc=video.name, unit="frame", leave=False, disable=hidden)
        with self._writer(video) as writer, bar:
            for result in segment_video(self.segmenter, video, self.config):
                if video.is_saved(result.frame.name):
                    with clock.writing():
                        scores = result.probabilities() if writer.needs_scores else None
                        writer.put(result.frame, result.mask, result.confidence, scores)
                clock.frame(result.stage_ms)
                object_ids = result.object_ids
                check()  # whether to stop: here nothing is held
                bar.update()
                if each_frame is not None:
                    each_frame()
        entry = {
            "status": "incomplete" if video.frames.incomplete else "done",
            "size": video.frames.size,
            "objects": object_ids,
            **clock.report(),
            "peak_memory": peak_memory(self.segmenter.prepared.device),
            "warnings": [*video.warnings, *video.frames.warnings],
        }
        self.records.write(video.name, self.wanted_record(video, entry["frames"]))
        return entry

    def clear(self, video: VideoInput) -> None:
        """Remove what a killed process left unfinished of a video. Nobody may be working on it."""
        self._writer(video).abort()
        self.records.tidy(video.name)

    def _writer(self, video: VideoInput) -> VideoWriter:
        source = video.frames
        return VideoWriter(
            self.output_dir,
            video.name,
            source.size,
            video.palette,
            self.config.output,
            source.fps,
            video.saved_count,
        )

    def wanted_record(self, video: VideoInput, frames: int = 0) -> Record:
        """The record that `run` leaves: everything the masks depend on."""
        settings = recorded_settings(self.config)
        settings["runtime.precision"] = self.segmenter.prepared.precision.name
        settings["runtime.variant"] = self.segmenter.prepared.backend
        settings["runtime.device"] = self.segmenter.prepared.device.type
        settings["dataset"] = None if self.config.dataset is None else self.config.dataset.name
        return Record(video.fingerprint, self.weights_sha256, settings, frames)


def recorded_settings(config: EvalConfig) -> dict[str, Any]:
    """The settings that masks depend on, by key; a folder's results are all of the same ones."""
    return {
        f"{group}.{key}": getattr(value, "name", value)
        for group in ("data", "memory", "runtime", "output", "tta")
        for key, value in asdict(getattr(config, group)).items()
        if (group, key) != ("runtime", "threads")
    }
