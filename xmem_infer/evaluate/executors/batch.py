"""A batch given to workers: which engine, what they are told, and what is tidied up after them."""

import dataclasses
from collections.abc import Generator, Sequence
from contextlib import suppress
from pathlib import Path

from ...config import Device, EngineKind, EvalConfig
from ...errors import XMemInferError
from ...scoring.parallel import usable_cores
from ..jobs import Say, VideoJob
from ..video_run import VideoRun
from .attempts import Attempts, Quarantined
from .processes import LocalEngine
from .progress import Progress
from .ray import RayEngine, cluster_cores, connected, import_ray
from .sharing import longest_first, threads_each
from .worker import Outcome, Setup


def check_engine(config: EvalConfig) -> None:
    """Refuse an engine that is not there, before expensive work starts."""
    if config.engine.kind is EngineKind.ray:
        import_ray()


def needs_workers(config: EvalConfig) -> bool:
    """Whether a run leaves its own process."""
    return config.workers > 1 or config.engine.kind is EngineKind.ray


def in_workers(
    video_run: VideoRun, weights: Path, jobs: Sequence[VideoJob], say: Say
) -> Generator[tuple[VideoJob, Outcome], None, None]:
    """Every job with its outcome, in order of completion, as `video_run` itself would have done it.

    weights: the file its network came from. Faults of the machine are raised. Close the generator to stop:
    when it ends, no worker lives and nothing unfinished is left.
    """
    attempts = Attempts(video_run.output_dir)
    attempts.clear()
    unfinished = {job.name: job for job in jobs}
    workers = min(video_run.config.workers, len(jobs))
    if not jobs:
        return
    try:
        with Progress(len(jobs)) as progress:
            for job, outcome in _engine_outcomes(video_run, weights, longest_first(jobs), workers, progress, say):
                if not isinstance(outcome, Quarantined):
                    del unfinished[job.name]
                progress.finished(failed=isinstance(outcome, XMemInferError))
                yield job, outcome
    finally:
        for job in unfinished.values():
            with suppress(XMemInferError):  # another error may be on its way out
                if attempts.made(job.name):
                    video_run.clear(job)
        with suppress(XMemInferError):
            attempts.clear()


def _engine_outcomes(
    video_run: VideoRun, weights: Path, jobs: list[VideoJob], workers: int, progress: Progress, say: Say
) -> Generator[tuple[VideoJob, Outcome], None, None]:
    config = video_run.config
    if config.engine.kind is EngineKind.local:
        setup = _setup(video_run, weights, threads_each([usable_cores()], workers))
        say(_words(setup, workers))
        yield from LocalEngine(setup, workers, progress, say).outcomes(jobs)
        return
    with connected(config.engine.address, workers):
        setup = _setup(video_run, weights, threads_each(cluster_cores(), workers))
        say(_words(setup, workers) + " on a Ray cluster")
        yield from RayEngine(setup, workers, progress, say).outcomes(jobs)


def _setup(video_run: VideoRun, weights: Path, threads: int) -> Setup:
    """What workers are told: the settings as this process resolved them, so that all resolve them alike."""
    settled = dataclasses.replace(
        video_run.config.runtime,
        device=Device(video_run.segmenter.prepared.device.type),
        precision=video_run.segmenter.precision,
        variant=video_run.segmenter.prepared.variant,
        threads=video_run.config.runtime.threads or threads,
    )
    config = dataclasses.replace(video_run.config, runtime=settled)
    return Setup(config, video_run.output_dir, weights, video_run.weights_sha256, Path.cwd())


def _words(setup: Setup, workers: int) -> str:
    return f"{workers} worker{'s' * (workers > 1)} with {setup.config.runtime.threads} CPU threads each"
