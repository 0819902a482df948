"""A run: every video of the plan, what failed and why, and run.json."""

from collections.abc import Generator
from contextlib import closing
from dataclasses import asdict
from typing import Any

from tqdm import tqdm

from ..config import EvalConfig
from ..errors import EnvironmentFault, XMemInferError
from ..io.atomic import write_json
from ..io.versions import versions
from ..outputs.writer import chosen_outputs
from ..predictor import Segmenter
from ..runtime.choice import check_runtime
from ..runtime.device import choose_device
from ..scoring.metrics import chosen_metrics
from ..weights.build import LoadedNetwork, load_network
from ..weights.manifest import DOWNLOAD_COMMAND, embedded_model, resolve_weights
from .conclusion import conclude
from .executors.attempts import Quarantined
from .executors.batch import check_engine, in_workers, needs_workers
from .executors.worker import Outcome
from .jobs import Plan, Say, VideoJob, make_plan
from .provenance import machine, peak_memory
from .records import claim
from .video_run import VideoRun


def evaluate(config: EvalConfig, say: Say = lambda line: None, show: Say = lambda table: None) -> int:
    """Segment every video that `config` names, then score it or pack it for the server, where that can be done.

    Returns the exit code (0, or 1 where some videos failed). say: takes lines for the user; show: takes the
    table of scores. Faults of the request or the machine are raised, before work starts where
    they can be known; finished videos then stay.
    """
    check_runtime(config.runtime, choose_device(config.runtime.device))
    check_engine(config)
    chosen_outputs(config.output)
    chosen_metrics(config.metrics)
    plan = make_plan(config)
    weights = resolve_weights(config.weights)
    for line in plan.warnings:
        say(f"warning: {line}")
    if not plan.jobs:
        return _say_failures(plan, say)
    loaded = load_network(weights)
    segmenter = Segmenter(loaded.network, config.memory, config.runtime, config.data)
    say(
        f"{loaded.path.name} on {segmenter.prepared.device}, {segmenter.precision.value} "
        f"({segmenter.precision_reason}), {segmenter.prepared.variant.value}"
    )
    if weights == embedded_model():
        say(f"this is the small embedded preview model; for published accuracy: {DOWNLOAD_COMMAND} XMem")
    with claim(plan.output_dir):
        code = Run(config, plan, segmenter, loaded, say).all_videos()
        return max(code, conclude(config, plan, loaded.path, show, say))


class Run:
    """One call of `evaluate` on a claimed output folder."""

    def __init__(self, config: EvalConfig, plan: Plan, segmenter: Segmenter, loaded: LoadedNetwork, say: Say):
        self.config = config
        self.plan = plan
        self.loaded = loaded
        self.segmenter = segmenter
        self.say = say
        self.video_run = VideoRun(config, plan.output_dir, segmenter, loaded.sha256)
        self.entries: dict[str, dict[str, Any]] = {}
        # Asked for now: after a signal there is no time to ask git.
        self.provenance = {"machine": machine(segmenter.prepared.device), "versions": versions()}

    def all_videos(self) -> int:
        """Do what is not done; write run.json whatever happens."""
        if not self.config.overwrite:
            for job in self.plan.jobs:
                self.video_run.records.check_settings(job.name, self.video_run.wanted_record(job))
        try:
            with closing(self._outcomes([job for job in self.plan.jobs if not self._skip(job)])) as outcomes:
                for job, outcome in outcomes:
                    self._take(job, outcome)
        except BaseException as stop:
            self._write_report(stopped=f"{type(stop).__name__}: {stop}")
            raise
        code = _say_failures(self.plan, self.say)
        self._write_report()
        self.say(f"results in {self.plan.output_dir}")
        return code

    def _skip(self, job: VideoJob) -> bool:
        """Whether a video is done already; then that is said."""
        entry = self.video_run.finished(job)
        if entry is not None:
            self.say(f"{job.name}: already done ({entry['frames']} frames), skipped")
            self.entries[job.name] = entry
        return entry is not None

    def _outcomes(self, jobs: list[VideoJob]) -> Generator[tuple[VideoJob, Outcome], None, None]:
        """Every job with its entry, or why it failed, as soon as that is known; here or by workers."""
        if needs_workers(self.config):
            yield from in_workers(self.video_run, self.loaded.path, jobs, self.say)
            return
        # A batch of one needs no bar of its own; None is silent off a terminal.
        for job in tqdm(jobs, desc="videos", unit="video", disable=True if len(jobs) == 1 else None):
            try:
                entry = self.video_run.run(job)
            except EnvironmentFault:
                raise  # a full disk or too little memory will not be better for the next video
            except XMemInferError as error:
                yield job, error
            else:
                yield job, entry

    def _take(self, job: VideoJob, outcome: Outcome) -> None:
        if isinstance(outcome, XMemInferError):
            if len(self.plan.jobs) + len(self.plan.failures) == 1:
                raise outcome
            self.plan.failures[job.name] = outcome
            return
        self.entries[job.name] = outcome
        for line in outcome.get("warnings", ()):
            self.say(f"warning: {job.name}: {line}")

    def _write_report(self, stopped: str | None = None) -> None:
        segmenter, device = self.segmenter, self.segmenter.prepared.device
        done = {job.name: self.entries[job.name] for job in self.plan.jobs if job.name in self.entries}
        failed = {
            name: {"status": "quarantined" if isinstance(error, Quarantined) else "failed", "error": str(error)}
            for name, error in self.plan.failures.items()
        }
        content = {
            "config": asdict(self.config),
            "weights": {"path": self.loaded.path, "sha256": self.loaded.sha256, **self.loaded.metadata},
            "precision": {"used": segmenter.precision, "reason": segmenter.precision_reason},
            "variant": {"used": segmenter.prepared.variant, "active": segmenter.prepared.active},
            **self.provenance,
            "stopped": stopped,
            "videos": {**done, **failed},
            "peak_memory": peak_memory(device),
        }
        write_json(self.plan.output_dir / "run.json", content)


def _say_failures(plan: Plan, say: Say) -> int:
    for name, error in plan.failures.items():
        say(f"failed: {name}: {error}")
    if plan.failures:
        videos = {job.name for job in plan.jobs} | plan.failures.keys()
        say(f"{len(plan.failures)} of {len(videos)} videos failed")
    return 1 if plan.failures else 0
