"""A run: segment every video of a plan, report failures, score, and write run.json."""

import logging
from contextlib import closing
from dataclasses import asdict
from typing import Any

from ..config import EvalConfig
from ..datasets.video_input import VideoInput
from ..engine.drift import describe
from ..errors import EnvironmentFault, XMemInferError
from ..io.atomic import write_json
from ..io.listing import counted
from ..io.versions import versions
from ..outputs.writer import chosen_outputs
from ..predictor import Segmenter
from ..runtime.choice import check_runtime
from ..runtime.device import choose_device
from ..scoring.metrics import chosen_metrics
from ..weights.build import LoadedNetwork, load_network
from ..weights.manifest import DOWNLOAD_COMMAND, embedded_model, resolve_weights
from .executors import processes, ray  # noqa: F401  # registers the executors
from .executors.protocol import EXECUTORS, Executor, Outcome, executor_of
from .executors.worker import Attempts, Quarantined
from .jobs import Plan, make_plan
from .provenance import machine, peak_memory
from .records import locked_output
from .score_or_package import score_or_package
from .video_run import VideoRun

log = logging.getLogger(__name__)


def evaluate(config: EvalConfig, plan: Plan | None = None) -> int:
    """Segment all videos that `config` names, then score the masks or pack them for the benchmark server if possible.

    Messages for the user go to the logger `xmem_infer`, the table of scores to `xmem_infer.tables`. `plan`: what
    `make_plan` returned for these settings, if that was called. Returns the exit code: 0, or 1 if some videos failed.

    Raises:
        UsageError: An error in the settings or inputs, before work starts.
        EnvironmentFault: An error of the machine, before work starts if possible. Finished videos are kept.
    """
    plan = plan or make_plan(config)
    check_runtime(config.runtime, choose_device(config.runtime.device))
    name = executor_of(config)
    executor = EXECUTORS[name]
    if name == "ray":
        ray.import_ray()
    chosen_outputs(config.output)
    chosen_metrics(config.metrics)
    weights = resolve_weights(config.weights)
    for line in plan.warnings:
        log.info(f"warning: {line}")
    if not plan.videos:
        return _log_failures(plan)
    loaded = load_network(weights, config.network)
    segmenter = Segmenter(loaded.network, config.memory, config.runtime, config.data, loaded.sha256)
    prepared = segmenter.prepared
    log.info(
        f"{loaded.path.name} on {prepared.device}, {prepared.precision.value} ({segmenter.precision_reason}), "
        f"{prepared.backend}"
    )
    if weights == embedded_model():
        log.info(f"this is the small embedded preview model; for published accuracy: {DOWNLOAD_COMMAND} XMem")
    with locked_output(plan.output_dir):
        code = Run(config, plan, segmenter, loaded).segment_videos(executor)
        return max(code, score_or_package(config, plan, loaded.path))


class Run:
    """The state of one call of `evaluate`, whose output folder is locked."""

    def __init__(self, config: EvalConfig, plan: Plan, segmenter: Segmenter, loaded: LoadedNetwork):
        self.config, self.plan, self.loaded, self.segmenter = config, plan, loaded, segmenter
        self.video_run = VideoRun(config, plan.output_dir, segmenter)
        self.entries: dict[str, dict[str, Any]] = {}
        # Collected now, because after a signal there is no time to call git.
        self.provenance = {"machine": machine(segmenter.prepared.device), "versions": versions()}
        if not config.overwrite:
            for video in plan.videos:
                self.video_run.records.check_same(video.name, self.video_run.wanted_record(video))

    def segment_videos(self, executor: Executor) -> int:
        """Segment the unfinished videos; return 0, or 1 if some failed. Writes run.json whether it succeeds or not."""
        stopped = None
        try:
            Attempts(self.plan.output_dir).clear()  # those of a killed run do not count
            if todo := self.unfinished():
                with closing(executor(self.video_run, self.loaded.path, todo)) as outcomes:
                    for video, outcome in outcomes:
                        self.record_outcome(video, outcome)
            code = _log_failures(self.plan)
        except BaseException as error:
            stopped = f"{type(error).__name__}: {error}"
            if self.entries and isinstance(error, EnvironmentFault | KeyboardInterrupt):
                done = f"{len(self.entries)} of {len(self.plan.videos)} videos are finished"
                log.info(f"{done}; run the same command again for the others")
            raise
        finally:
            self._write_report(stopped)
        if drifted := sum(bool(entry.get("drift")) for entry in self.entries.values()):
            log.info(f"{counted(drifted, 'video')} with signs of drift: see confidence/<video>.csv, column drift")
        log.info(f"results in {self.plan.output_dir}")
        return code

    def unfinished(self) -> list[VideoInput]:
        """Return the videos still to be segmented, and log which are skipped and which are damaged."""
        todo = []
        for video in self.plan.videos:
            record, wrong = self.video_run.check_results(video)
            if record and not wrong:
                log.info(f"{video.name}: already done ({record.frames} frames), skipped")
                self.entries[video.name] = {"status": "skipped", "frames": record.frames}
                self.video_run.remove_leftovers(video)
                continue
            todo.append(video)
            if wrong:
                how = "drawn again from its masks" if self.video_run.can_redraw(wrong) else "segmented again"
                log.info(f"{video.name}: was done, but {'; '.join(wrong.values())}: it is {how}")
        return todo

    def record_outcome(self, video: VideoInput, outcome: Outcome) -> None:
        """Record the result or the error of a video. If the run has only one video, its error is raised."""
        if isinstance(outcome, XMemInferError):
            if len(self.plan.videos) + len(self.plan.failures) == 1:
                raise outcome
            self.plan.failures[video.name] = outcome
            return
        self.entries[video.name] = outcome
        for line in outcome.get("warnings", ()):
            log.info(f"warning: {video.name}: {line}")
        for line in describe(outcome.get("drift", ())):
            log.info(f"{video.name}: {line}")

    def _write_report(self, stopped: str | None) -> None:
        prepared = self.segmenter.prepared
        done = {video.name: self.entries[video.name] for video in self.plan.videos if video.name in self.entries}
        failed = {
            name: {"status": "quarantined" if isinstance(error, Quarantined) else "failed", "error": str(error)}
            for name, error in self.plan.failures.items()
        }
        content = {
            "config": asdict(self.config),
            "weights": {"path": self.loaded.path, "sha256": self.loaded.sha256, **self.loaded.metadata},
            "precision": {"used": prepared.precision, "reason": self.segmenter.precision_reason},
            "variant": {"used": prepared.backend, "active": prepared.active},
            **self.provenance,
            "stopped": stopped,
            "videos": {**done, **failed},
            "peak_memory": peak_memory(prepared.device),
        }
        write_json(self.plan.output_dir / "run.json", content)


def _log_failures(plan: Plan) -> int:
    for name, error in plan.failures.items():
        log.info(f"failed: {name}: {error}")
    if plan.failures:
        videos = {video.name for video in plan.videos} | plan.failures.keys()
        log.info(f"{len(plan.failures)} of {len(videos)} videos failed")
    return 1 if plan.failures else 0
