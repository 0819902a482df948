"""A worker of any executor: it loads one network and segments one video at a time, counting its attempts on disk."""

import json
import os
import socket
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path

from ...config import EvalConfig
from ...datasets.video_input import VideoInput
from ...errors import EnvironmentFault, VideoError, WeightsError, XMemInferError
from ...io.atomic import disk_fault, remove, write_json
from ...predictor import Segmenter
from ...weights.build import load_network
from ..video_run import VideoRun
from .protocol import Outcome

MAX_ATTEMPTS = 3


class Quarantined(VideoError):
    """A video that is given up because its worker died at every attempt; the batch continues without it."""


def quarantine(ends: list[str]) -> Quarantined:
    """Return the error; ends: how each attempt ended, or who made it and when if that is not known."""
    return Quarantined(
        f"its worker died {len(ends)} times in the midst of it ({'; '.join(ends)}). It may need more memory than there "
        "is: run fewer videos at a time (workers=1), with a smaller data.size, or on another machine. The same command "
        "tries the unfinished videos again"
    )


class Attempts:
    """The attempts at each video of a run, stored in files because the process that counts them may be killed too."""

    def __init__(self, output_dir: Path):
        self.folder = output_dir / "records" / "attempts"

    def start(self, video: str) -> int:
        """Record an attempt before it starts and return its number, from 1. Raises Quarantined after MAX_ATTEMPTS."""
        attempts = self.previous(video)
        if len(attempts) >= MAX_ATTEMPTS:
            raise quarantine(attempts)
        now = datetime.now(timezone.utc).isoformat(timespec="seconds")
        attempts.append(f"process {os.getpid()} on {socket.gethostname()}, {now}")
        write_json(self.folder / f"{video}.json", attempts)
        return len(attempts)

    def previous(self, video: str) -> list[str]:
        """Return who made each attempt and when, oldest first."""
        try:
            attempts: list[str] = json.loads((self.folder / f"{video}.json").read_text(encoding="utf-8"))
        except FileNotFoundError:
            return []
        except OSError as error:
            raise disk_fault(error, self.folder) from error
        return attempts

    def clear(self) -> None:
        """Delete all attempts."""
        try:
            remove(self.folder)
        except OSError as error:
            raise disk_fault(error, self.folder) from error


@dataclass(frozen=True)
class Setup:
    """What a worker needs to know; it is pickled and sent to the worker."""

    config: EvalConfig  # with device, precision and backend already resolved
    output_dir: Path
    weights: Path
    weights_sha256: str  # when the run started
    folder: Path  # working directory, to which relative paths refer


class Worker:
    """A loaded network with the settings of the run.

    Raises EnvironmentFault if the working directory is missing on this machine or the checkpoint is not the run's.
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
        return {**entry, "attempts": number} if number > 1 else entry
