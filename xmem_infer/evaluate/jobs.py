"""What there is to do: every video opened and its masks checked before a model is loaded."""

from dataclasses import dataclass, field
from pathlib import Path

from ..config import EvalConfig
from ..datasets.discovery import KINDS, find_videos
from ..datasets.layouts import FoundSet, find_dataset
from ..datasets.video_input import VideoInput
from ..errors import UsageError, XMemInferError


@dataclass
class Plan:
    """The videos of a run: those that can be done, and why others cannot (by name). warnings: of the set."""

    videos: list[VideoInput]
    failures: dict[str, XMemInferError]
    output_dir: Path
    warnings: list[str] = field(default_factory=list)


def make_plan(config: EvalConfig) -> Plan:
    """Find the videos and check their inputs. A single video's fault is raised, one of several is listed.

    Raises:
        UsageError: The request names no video, or not clearly.
    """
    found = _find(config)
    plan = Plan([], {}, output_folder(config), found.warnings)
    for video in found.videos:
        try:
            plan.videos.append(video.open(config.data))
        except XMemInferError as error:
            if len(found.videos) == 1:
                raise
            plan.failures[video.name] = error
    return plan


def output_folder(config: EvalConfig) -> Path:
    """`output_dir`, or output/<name of video_dir or data set> below the current folder."""
    if config.output_dir:
        return Path(config.output_dir).expanduser()
    if config.dataset is not None:
        return Path("output") / config.dataset.name
    video = Path(config.video_dir or "video").expanduser().resolve()
    return Path("output") / (video.name if video.is_dir() else video.stem)


def working_sizes(config: EvalConfig) -> list[int]:
    """The sizes inside the network (px of the short side) that a run uses."""
    return config.tta.sizes or [config.data.size]


def _find(config: EvalConfig) -> FoundSet:
    if config.dataset is None:
        if config.data_root is not None:
            raise UsageError(
                f"data_root={config.data_root} is of use with dataset=NAME only; a video is video_dir=PATH"
            )
        if config.video_dir is None:
            raise UsageError(
                f"neither video_dir nor dataset is set. Give what to segment: video_dir=PATH ({KINDS}), or a "
                "benchmark as dataset=NAME data_root=PATH"
            )
        return FoundSet(find_videos(config.video_dir, config.mask, config.data))
    for key in ("video_dir", "mask"):
        if getattr(config, key) is not None:
            raise UsageError(
                f"{key}={getattr(config, key)} and dataset={config.dataset.name} are alternatives: a data set "
                "brings its own videos and masks, from data_root"
            )
    return find_dataset(config.dataset, config.data_root, config.data, working_sizes(config))
