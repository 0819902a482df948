"""The protocol and registry of executors, which run a batch of videos, and the default one, executor=in_process."""

from collections.abc import Callable, Generator, Sequence
from pathlib import Path
from typing import Any

from tqdm import tqdm

from ...config import EvalConfig
from ...datasets.video_input import VideoInput
from ...errors import EnvironmentFault, XMemInferError
from ...registry import Registry
from ..video_run import VideoRun

Outcome = dict[str, Any] | XMemInferError
"""The outcome of a video: its entry for run.json, or the error."""

Outcomes = Generator[tuple[VideoInput, Outcome], None, None]

Executor = Callable[[VideoRun, Path, Sequence[VideoInput]], Outcomes]
"""Segments videos like `VideoRun.run`: (run, checkpoint, videos) -> each video with its outcome.

Outcomes are yielded in order of completion. Errors of the machine are raised. Closing the generator stops the batch,
ends its processes and removes partial outputs.
"""

EXECUTORS: Registry[Executor] = Registry("executor", "executor.kind")


def executor_of(config: EvalConfig) -> str:
    """Return the executor's name in EXECUTORS; `auto` means `in_process` for one worker, `processes` for more."""
    if config.executor.kind != "auto":
        return config.executor.kind
    return "processes" if config.workers > 1 else "in_process"


@EXECUTORS.register("in_process")
def in_process(video_run: VideoRun, weights: Path, videos: Sequence[VideoInput]) -> Outcomes:
    """Segment one video after another with the network that is already loaded; see `Executor`."""
    # A single video needs no bar of videos. None: hidden if the output is no terminal.
    for video in tqdm(videos, desc="videos", unit="video", disable=True if len(videos) == 1 else None):
        try:
            outcome: Outcome = video_run.run(video)
        except EnvironmentFault:
            raise  # a full disk or a lack of memory would fail the next video too
        except XMemInferError as error:
            outcome = error
        yield video, outcome
