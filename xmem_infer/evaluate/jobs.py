"""Planning of a run: find the videos and check their frames and masks before the network is loaded."""

import json
from dataclasses import dataclass
from pathlib import Path

from ..config import Direction, EvalConfig, LateObjects, TtaConfig
from ..datasets.discovery import KINDS, find_videos
from ..datasets.layouts import LAYOUTS, FoundSet
from ..datasets.video_input import VideoInput
from ..errors import UsageError, XMemInferError
from ..io.atomic import check_writable
from ..io.frames import frame_name
from ..io.memory_header import read_description
from .records import Records, check_output_folder, requested_record


@dataclass
class Plan:
    """The videos of a run."""

    videos: list[VideoInput]  # those that can be segmented
    failures: dict[str, XMemInferError]  # the errors of the others, by name
    output_dir: Path  # the folder that results are written to
    warnings: list[str]  # about the whole set


def make_plan(config: EvalConfig) -> Plan:
    """Find the videos and check their inputs; the error of one of several videos is collected in `failures`.

    Raises UsageError if the settings name no video, contradict each other, or would replace results of another run.
    """
    absent = apply_project(config)
    _check_tracking(config)
    found_set = _find(config)
    recalled = () if config.memory.load is None else read_description(config.memory.load)["objects"]
    for video in found_set.videos:
        video.recalled, video.absent = frozenset(recalled), absent
    if (path := config.memory.save) is not None:
        if len(found_set.videos) > 1:
            raise UsageError(f"memory.save={path} is one file, but video_dir means {len(found_set.videos)} videos")
        check_writable(Path(path))
    plan = Plan([], {}, output_folder(config), found_set.warnings)
    for video in found_set.videos:
        try:
            opened = video.open(config.data)
            _check_start(config, opened)
            plan.videos.append(opened)
        except XMemInferError as error:
            if len(found_set.videos) == 1:
                raise
            plan.failures[video.name] = error
    if plan.videos:
        check_output_folder(plan.output_dir)
    for video in [] if config.overwrite else plan.videos:
        Records(plan.output_dir).check_same(video.name, requested_record(config, video))
    return plan


def apply_project(config: EvalConfig) -> dict[int, list[tuple[int, int]]]:
    """If `video_dir` is a project of the page, replace it by the project's video and references, with direction=both.

    Returns the frames in which objects are absent, see `VideoInput.absent`.
    """
    folder = Path(config.video_dir or "").expanduser()
    if config.video_dir is None or not (folder / "project.json").is_file():
        return {}
    try:
        project = json.loads((folder / "project.json").read_text(encoding="utf-8"))
        video = Path(project["video"]["path"])
        absent = {int(key): [(first, last) for first, last in spans] for key, spans in project["absent"].items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise UsageError(f"{folder / 'project.json'} cannot be read as a project: {error!r}") from error
    if not video.exists():
        raise UsageError(f"{folder} is the project of {video}, which does not exist: open it from the page once more")
    config.video_dir, config.references, config.direction = str(video), str(folder / "references"), Direction.both
    return absent


def uses_propagation(config: EvalConfig) -> bool:
    """Return whether videos are tracked by `propagate`, which knows all references in advance."""
    return config.references is not None or config.direction is not Direction.forward


def _check_tracking(config: EvalConfig) -> None:
    """Refuse combinations of references, directions and memory settings that exclude each other."""
    if config.references is not None and config.mask is not None:
        raise UsageError(
            f"mask={config.mask} and references={config.references} are alternatives: put the mask of the first frame "
            "into the folder of references"
        )
    given = {
        "references": config.references,
        "direction": None if config.direction is Direction.forward else config.direction.name,
        "memory.load": config.memory.load,
        "memory.save": config.memory.save,
    }
    used = [f"{key}={value}" for key, value in given.items() if value is not None]
    others = {
        "dataset=NAME": config.dataset is not None,
        "tta": config.tta != TtaConfig(),
        f"memory.load={config.memory.load}": config.memory.load is not None and uses_propagation(config),
    }
    for other, is_set in others.items():
        if used and is_set:
            raise UsageError(f"{used[0]} is not possible together with {other}")
    if config.memory.late_objects is LateObjects.published and (config.data.permanent or uses_propagation(config)):
        permanent = "data.permanent=true" if config.data.permanent else used[0]
        raise UsageError(
            f"{permanent} keeps frames in memory permanently, which memory.late_objects=published cannot: use aligned"
        )


def _check_start(config: EvalConfig, video: VideoInput) -> None:
    """Refuse masks from which a run in this direction cannot start."""
    if config.memory.frozen and video.masks:
        raise UsageError(
            f"memory.frozen=true, but there are masks for {video.name}, which would be added to the memory: leave out "
            "one of them"
        )
    if config.direction is Direction.backward and list(video.masks) == [frame_name(video.frames, 0)]:
        raise UsageError(
            f"direction=backward, but the only mask of {video.name} is that of its first frame: give masks of later "
            "frames as references=FOLDER, named after them"
        )


def output_folder(config: EvalConfig) -> Path:
    """Return `output_dir`, or output/<name of video_dir or data set> in the current folder."""
    if config.output_dir:
        return Path(config.output_dir).expanduser()
    if config.dataset is not None:
        return Path("output") / config.dataset.name
    video = Path(config.video_dir or "").expanduser().resolve()
    return Path("output") / (video.name if video.is_dir() else video.stem)


def working_sizes(config: EvalConfig) -> list[int]:
    """Return the sizes at which the network sees the frames (short side in px)."""
    return config.tta.sizes or [config.data.size]


def _find(config: EvalConfig) -> FoundSet:
    if config.dataset is None:
        if config.data_root is not None:
            raise UsageError(
                f"data_root={config.data_root} can only be used with dataset=NAME; a video is video_dir=PATH"
            )
        if config.video_dir is None:
            raise UsageError(
                f"neither video_dir nor dataset is set. Give what to segment: video_dir=PATH ({KINDS}), or a "
                "benchmark as dataset=NAME data_root=PATH"
            )
        return FoundSet(find_videos(config.video_dir, config.mask, config.data, config.references))
    for key in ("video_dir", "mask", "references"):
        if getattr(config, key) is not None:
            raise UsageError(
                f"{key}={getattr(config, key)} and dataset={config.dataset.name} are alternatives: a data set "
                "brings its own videos and masks, from data_root"
            )
    return LAYOUTS[config.dataset.layout](config.dataset, config.data_root, config.data, working_sizes(config))
