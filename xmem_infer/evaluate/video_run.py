"""One video of a run: skipped, or through the pipeline into files, with its record and times."""

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from tqdm import tqdm

from ..config import EvalConfig
from ..interrupts import check
from ..outputs.writer import VideoWriter
from ..predictor import Segmenter
from .jobs import VideoJob
from .provenance import peak_memory, reset_peak_memory
from .records import Record, Records
from .timing import VideoClock
from .tta import saved_scores, segment_job


class VideoRun:
    """Segments videos with one loaded network into one output folder, whichever process it runs in."""

    def __init__(self, config: EvalConfig, output_dir: Path, segmenter: Segmenter, weights_sha256: str):
        self.config = config
        self.output_dir = output_dir
        self.segmenter = segmenter
        self.weights_sha256 = weights_sha256
        self.records = Records(output_dir)

    def finished(self, job: VideoJob) -> dict[str, Any] | None:
        """The entry of a video that is done already, None for one that has to be done."""
        found = self.records.read(job.name)
        if self.config.overwrite or found is None or found.inputs != job.inputs:
            return None
        return {"status": "skipped", "frames": found.frames}

    def run(self, job: VideoJob, each_frame: Callable[[], None] | None = None) -> dict[str, Any]:
        """Segment a video, put its files in place, record it; returns its entry for run.json.

        each_frame: called after every frame, and may raise to give up; then no bar is shown.
        """
        self.records.drop(job.name)
        reset_peak_memory(self.segmenter.prepared.device)
        clock = VideoClock()
        objects: tuple[int, ...] = ()
        # disable=None: silent off a terminal
        hidden = None if each_frame is None else True
        bar = tqdm(total=job.source.count, desc=job.name, unit="frame", leave=False, disable=hidden)
        with self._writer(job) as writer, bar:
            for result in segment_job(self.segmenter, job, self.config):
                if job.is_saved(result.frame.name):
                    with clock.writing():
                        scores = saved_scores(result) if writer.needs_scores else None
                        writer.put(result.frame, result.labels, result.confidence, scores)
                clock.frame(result.stage_ms)
                objects = result.objects
                check()  # whether to stop: here nothing is held
                bar.update()
                if each_frame is not None:
                    each_frame()
        entry = {
            "status": "incomplete" if job.source.incomplete else "done",
            "size": job.source.size,
            "objects": objects,
            **clock.report(),
            "peak_memory": peak_memory(self.segmenter.prepared.device),
            "warnings": [*job.warnings, *job.source.warnings],
        }
        self.records.write(job.name, self.wanted_record(job, entry["frames"]))
        return entry

    def clear(self, job: VideoJob) -> None:
        """Remove what a killed process left unfinished of a video. Nobody may be working on it."""
        self._writer(job).abort()
        self.records.tidy(job.name)

    def _writer(self, job: VideoJob) -> VideoWriter:
        source = job.source
        return VideoWriter(
            self.output_dir,
            job.name,
            source.size,
            job.first_mask.palette,
            self.config.output,
            source.fps,
            job.saved_count,
        )

    def wanted_record(self, job: VideoJob, frames: int = 0) -> Record:
        """The record that `run` leaves: everything the masks depend on."""
        settings = {
            f"{group}.{key}": getattr(value, "name", value)
            for group in ("data", "memory", "runtime", "output", "tta")
            for key, value in asdict(getattr(self.config, group)).items()
            if (group, key) != ("runtime", "threads")
        }
        settings["runtime.precision"] = self.segmenter.precision.name
        settings["runtime.variant"] = self.segmenter.prepared.variant.name
        settings["runtime.device"] = self.segmenter.prepared.device.type
        settings["dataset"] = None if self.config.dataset is None else self.config.dataset.name
        return Record(job.inputs, self.weights_sha256, settings, frames)
