"""A worker of any executor: it loads one network and segments one video at a time."""

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
    """What a worker needs to know; it is pickled and sent to the worker.

    Attributes:
        config: The settings, with device, precision and backend already resolved.
        output_dir: The output folder.
        weights: The checkpoint.
        weights_sha256: Hash of the checkpoint when the run started.
        folder: Working directory, to which relative paths refer.
    """

    config: EvalConfig
    output_dir: Path
    weights: Path
    weights_sha256: str
    folder: Path


class Worker:
    """A loaded network with the settings of the run.

    Raises:
        EnvironmentFault: The working directory is missing on this machine, or the checkpoint differs from the run's.
    """

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

    def segment(self, video: VideoInput, each_frame: Callable[[], None]) -> Outcome:
        """Segment a video and count the attempt. Errors of the machine are raised, since they concern all videos.

        A video that an earlier worker finished, but died before reporting it, is not segmented again.
        """
        if self.attempts.previous(video.name):
            record, wrong = self.video_run.check_results(video)
            if record and not wrong:
                return {"status": "done", "frames": record.frames}
        try:
            number = self.attempts.start(video.name)
            entry = self.video_run.run(video, each_frame)
        except EnvironmentFault:
            raise
        except XMemInferError as error:
            return error
        if number > 1:
            entry["attempts"] = number
        return entry
