"""What every worker does, whichever process or machine it lives in: one network, one video at a time."""

import os
import socket
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from ...config import EvalConfig
from ...datasets.video_input import VideoInput
from ...errors import EnvironmentFault, WeightsError, XMemInferError
from ...predictor import Segmenter
from ...weights.build import load_network
from ..video_run import VideoRun
from .attempts import Attempts
from .protocol import Outcome


@dataclass(frozen=True)
class Setup:
    """What a worker has to know; crosses processes. weights_sha256: of the file the run was begun with.

    folder: where relative paths start. config: with the precision that the run settled on.
    """

    config: EvalConfig
    output_dir: Path
    weights: Path
    weights_sha256: str
    folder: Path


class Worker:
    """One network, loaded as the run's own was. Raises EnvironmentFault where files or weights differ here."""

    def __init__(self, setup: Setup):
        try:
            os.chdir(setup.folder)
        except OSError as error:
            raise EnvironmentFault(
                f"{setup.folder} cannot be entered on {socket.gethostname()}: {error.strerror}; the workers of a run "
                "need the folder it was started in, with videos, weights and output, under the same path everywhere"
            ) from error
        config = setup.config
        loaded = load_network(setup.weights, config.network)
        if loaded.sha256 != setup.weights_sha256:
            raise WeightsError(
                f"{setup.weights} changed since the run began, or is another file on {socket.gethostname()}: its "
                f"sha256 is {loaded.sha256[:12]}..., not {setup.weights_sha256[:12]}..."
            )
        segmenter = Segmenter(loaded.network, config.memory, config.runtime, config.data, loaded.sha256)
        self.video_run = VideoRun(config, setup.output_dir, segmenter)
        self.attempts = Attempts(setup.output_dir)

    def do(self, video: VideoInput, each_frame: Callable[[], None]) -> Outcome:
        """Segment a video and count the attempt; faults of the machine are raised, they concern all videos.

        What is asked for a second time, because its first worker died before it could tell, is not redone.
        """
        if self.attempts.made(video.name) and (done := self.video_run.finished(video)):
            return {**done, "status": "done"}
        try:
            number = self.attempts.begin(video.name)
            entry = self.video_run.run(video, each_frame)
        except EnvironmentFault:
            raise
        except XMemInferError as error:
            return error
        if number > 1:
            entry["attempts"] = number
        return entry
