"""executor=in_process: one video after the other, with the network that is loaded already."""

from collections.abc import Sequence
from pathlib import Path

from tqdm import tqdm

from ...datasets.video_input import VideoInput
from ...errors import EnvironmentFault, XMemInferError
from ..video_run import VideoRun
from .protocol import EXECUTORS, Outcomes


@EXECUTORS.register("in_process")
def in_process(video_run: VideoRun, weights: Path, videos: Sequence[VideoInput]) -> Outcomes:
    """See `protocol.Executor`."""
    # A batch of one needs no bar of its own; None is silent off a terminal.
    for video in tqdm(videos, desc="videos", unit="video", disable=True if len(videos) == 1 else None):
        try:
            outcome = video_run.run(video)
        except EnvironmentFault:
            raise  # a full disk or too little memory will not be better for the next video
        except XMemInferError as error:
            yield video, error
        else:
            yield video, outcome
