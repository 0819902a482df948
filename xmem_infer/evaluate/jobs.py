"""What there is to do: every video opened and its masks checked before a model is loaded."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

from ..config import EvalConfig
from ..datasets.discovery import KINDS, VideoItem, find_videos
from ..datasets.later_masks import LaterMasks
from ..datasets.layouts import FoundSet, find_dataset
from ..datasets.video_input import Footage, open_footage
from ..errors import UsageError, XMemInferError
from ..io.frames import FrameSource
from ..types import LabelMask

Say = Callable[[str], None]


@dataclass
class VideoJob:
    """One video that can be segmented. It travels to other processes, so all of it pickles.

    footage: its frames and masks; large: the same at full resolution, for working sizes that ask for it.
    inputs: fingerprint of its files. warnings: so far.
    """

    item: VideoItem
    footage: Footage
    large: Footage | None
    inputs: str
    warnings: list[str] = field(default_factory=list)

    @property
    def name(self) -> str:
        return self.item.name

    @property
    def source(self) -> FrameSource:
        return self.footage.source

    @property
    def first_mask(self) -> LabelMask:
        return self.footage.first

    @property
    def later_masks(self) -> LaterMasks:
        return self.footage.later

    @property
    def saved_count(self) -> int | None:
        """How many masks are saved, where that is known."""
        return self.source.count if self.item.saved is None else len(self.item.saved)

    def is_saved(self, frame: str) -> bool:
        """Whether the mask of this frame is among the results."""
        return self.item.saved is None or frame in self.item.saved


@dataclass
class Plan:
    """The videos of a run: those that can be done, and why others cannot (by name). warnings: of the set."""

    jobs: list[VideoJob]
    failures: dict[str, XMemInferError]
    output_dir: Path
    warnings: list[str] = field(default_factory=list)


def make_plan(config: EvalConfig) -> Plan:
    """Find the videos and check their inputs. A single video's fault is raised, one of several is listed."""
    found = _find(config)
    plan = Plan([], {}, output_folder(config), found.warnings)
    for item in found.items:
        try:
            plan.jobs.append(_open(item, config))
        except XMemInferError as error:
            if len(found.items) == 1:
                raise
            plan.failures[item.name] = error
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


def _open(item: VideoItem, config: EvalConfig) -> VideoJob:
    footage, warnings = open_footage(item, config.data)
    large = None
    if item.large is not None:
        frames, masks = item.large
        large, _ = open_footage(replace(item, path=frames, mask=masks), config.data)
        large.require_same(footage)
    inputs = footage.fingerprint(large, item.saved)
    return VideoJob(item, footage, large, inputs, warnings)
