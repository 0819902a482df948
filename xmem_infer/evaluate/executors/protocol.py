"""What runs a batch of videos, how executors are found, and the plain one: executor=in_process."""

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
"""Of a video: its entry for run.json, or why it failed."""

Outcomes = Generator[tuple[VideoInput, Outcome], None, None]

Executor = Callable[[VideoRun, Path, Sequence[VideoInput]], Outcomes]
"""Segments videos as the VideoRun would: (run, file of its weights, videos) -> each video with its outcome.

Outcomes come in order of completion. Faults of the machine are raised. Closing the generator stops the batch: when it
ends, no process of it lives and nothing unfinished is left.
"""

EXECUTORS: Registry[Executor] = Registry("executor", "executor.kind")


def executor_of(config: EvalConfig) -> str:
    """The name in EXECUTORS; `auto` is this process for one worker, processes for more."""
    if config.executor.kind != "auto":
        return config.executor.kind
    return "processes" if config.workers > 1 else "in_process"


@EXECUTORS.register("in_process")
def in_process(video_run: VideoRun, weights: Path, videos: Sequence[VideoInput]) -> Outcomes:
    """One video after the other, with the network that is loaded already."""
    # A batch of one needs no bar of its own; None is silent off a terminal.
    for video in tqdm(videos, desc="videos", unit="video", disable=True if len(videos) == 1 else None):
        try:
            outcome: Outcome = video_run.run(video)
        except EnvironmentFault:
            raise  # a full disk or too little memory will not be better for the next video
        except XMemInferError as error:
            outcome = error
        yield video, outcome
