"""Masks from the saved scores of several runs: the mean of their probabilities decides."""

import json
import logging
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np
from tqdm import tqdm

from ..config import DataConfig, require
from ..errors import UsageError, VideoError
from ..interrupts import check
from ..io.atomic import write_json
from ..io.listing import list_folders, name_some, natural_key
from ..io.masks import read_mask
from ..outputs.files import MaskFolder
from ..outputs.protocol import Item, VideoDetails
from ..types import Frame
from .records import held_output

log = logging.getLogger(__name__)

NO_PICTURE = np.empty((0, 0, 3), np.uint8)  # masks are written without their frames


@dataclass
class MergeConfig:
    runs: list[str] = field(default_factory=list)  # output folders of eval.py with output.scores=true
    output_dir: str = "output/merged"  # masks go to masks/ in it
    overwrite: bool = False  # replace what was merged from other runs

    def __post_init__(self) -> None:
        require(len(set(self.runs)) == len(self.runs), "runs", self.runs, "different folders")


class SavedScores(NamedTuple):
    """One frame of one run: object ids in order of the channels behind the background; (O + 1, H, W) uint8."""

    object_ids: list[int]
    values: np.ndarray


def merge_runs(config: MergeConfig) -> int:
    """Write output_dir/masks/<video> from the scores of all runs; returns 0, or 1 where videos failed.

    Raises UsageError where the runs do not fit together, EnvironmentFault where the disk refuses.
    """
    folders = [_scores_folder(run) for run in config.runs]
    output_dir = Path(config.output_dir).expanduser()
    if len(folders) < 2:
        raise UsageError(f"runs={config.runs} is not enough: give two output folders of eval.py or more, runs=[a,b]")
    if any((output_dir / "records").glob("*.json")) or output_dir.resolve() in [f.parent.resolve() for f in folders]:
        raise UsageError(f"output_dir={output_dir} holds results of a run of eval.py; give another one")
    runs = [str(folder.parent.resolve()) for folder in folders]
    _refuse_other_runs(output_dir / "merge.json", runs, config.overwrite)
    videos = _common_videos(folders)
    failures: dict[str, VideoError] = {}
    with held_output(output_dir):
        write_json(output_dir / "merge.json", {"runs": runs})
        for video in tqdm(videos, desc="merging", unit="video", disable=None):
            try:
                _merge_video(folders, video, output_dir)
            except VideoError as error:
                failures[video] = error
    for video, failure in failures.items():
        log.info(f"failed: {video}: {failure}")
    log.info(
        f"{len(videos) - len(failures)} of {len(videos)} videos merged from {len(folders)} runs, in {output_dir}/masks"
    )
    return 1 if failures else 0


def merge_frame(scores: list[SavedScores]) -> np.ndarray:
    """(H, W) uint8: the object of the highest sum of scores; a run that does not know an object gives it none."""
    object_ids = list(dict.fromkeys(object_id for one in scores for object_id in one.object_ids))
    total = np.zeros((len(object_ids) + 1, *scores[0].values.shape[1:]), np.uint32)
    for one in scores:
        total[[0, *(1 + object_ids.index(object_id) for object_id in one.object_ids)]] += one.values
    return np.array([0, *object_ids], np.uint8)[total.argmax(0)]


def read_scores(path: Path) -> SavedScores:
    """Scores as `eval.py` saved them. Raises VideoError."""
    try:
        with np.load(path, allow_pickle=False) as content:
            labels, values = content["labels"].tolist(), content["probabilities"]
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise VideoError(f"{path} cannot be read ({error}): damaged, or not saved by eval.py") from error
    if values.ndim != 3 or values.dtype != np.uint8 or len(values) != len(labels) + 1:
        raise VideoError(
            f"{path} holds {values.dtype} of shape {values.shape} for {len(labels)} labels: not saved here"
        )
    return SavedScores(labels, values)


def _merge_video(folders: list[Path], video: str, output_dir: Path) -> None:
    """Write the masks of one video, whole or not at all."""
    mask = next(iter(sorted((folders[0].parent / "masks" / video).glob("*.png"))), None)
    palette = None if mask is None else read_mask(mask, DataConfig.max_pixels).palette
    output = MaskFolder(VideoDetails(output_dir, video, palette))
    with output.whole():
        for index, (name, scores) in enumerate(_frames(folders, video)):
            check()  # whether to stop
            output.write(Item(Frame(index, name, NO_PICTURE), merge_frame(scores), {}, None))


def _frames(folders: list[Path], video: str) -> Iterator[tuple[str, list[SavedScores]]]:
    """Every frame's name and its scores in each run, one frame in memory at a time."""
    names = [{path.stem for path in (folder / video).glob("*.npz")} for folder in folders]
    differing = _not_in_all(names)
    if differing or not names[0]:
        what = f"not all have {name_some(differing)}" if differing else "there are none"
        raise VideoError(f"frames with scores differ between the runs: {what}")
    for name in sorted(names[0], key=natural_key):
        scores = [read_scores(folder / video / f"{name}.npz") for folder in folders]
        sizes = {one.values.shape[1:] for one in scores}
        if len(sizes) > 1:
            raise VideoError(f"frame {name}: scores differ in size (height, width): {sorted(sizes)}")
        yield name, scores


def _refuse_other_runs(record: Path, runs: list[str], overwrite: bool) -> None:
    try:
        there = json.loads(record.read_text(encoding="utf-8"))["runs"]
    except (OSError, ValueError, KeyError, TypeError):
        return
    if there != runs and not overwrite:
        raise UsageError(
            f"{record.parent} holds masks merged from other runs ({', '.join(there)}). "
            "Give another output_dir, or overwrite=true to replace them"
        )


def _scores_folder(run: str) -> Path:
    folder = Path(run).expanduser()
    if not folder.is_dir():
        raise UsageError(f"runs: {run} {'is not a folder' if folder.exists() else 'does not exist'}")
    if not (folder / "scores").is_dir():
        raise UsageError(f"{folder} has no scores/: run eval.py with output.scores=true to save them")
    return folder / "scores"


def _common_videos(folders: list[Path]) -> list[str]:
    names = [{path.name for path in list_folders(folder)} for folder in folders]
    differing = _not_in_all(names)
    if differing:
        raise UsageError(f"the runs differ in their videos: not all have scores of {name_some(differing)}")
    if not names[0]:
        raise UsageError(f"{folders[0]} holds no scores")
    return sorted(names[0], key=natural_key)


def _not_in_all(names: list[set[str]]) -> list[str]:
    return sorted(names[0].union(*names) - names[0].intersection(*names))
