"""Merging of the probabilities that several runs saved into one set of masks."""

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
from .records import locked_output

log = logging.getLogger(__name__)

NO_PICTURE = np.empty((0, 0, 3), np.uint8)  # writing masks needs no images


@dataclass
class MergeConfig:
    runs: list[str] = field(default_factory=list)  # output folders of eval.py with output.scores=true
    output_dir: str = "output/merged"  # masks go to masks/ in it
    overwrite: bool = False  # replace what was merged from other runs

    def __post_init__(self) -> None:
        require(len(set(self.runs)) == len(self.runs), "runs", self.runs, "different folders")


class SavedScores(NamedTuple):
    """The saved probabilities of one frame in one run.

    Attributes:
        object_ids: The object ids of channels 1 to O.
        values: (O + 1, H, W) uint8, background first.
    """

    object_ids: list[int]
    values: np.ndarray


def merge_runs(config: MergeConfig) -> int:
    """Write masks to output_dir/masks/<video> by averaging the saved probabilities of all runs.

    Returns:
        Exit code: 0, or 1 if some videos failed.

    Raises:
        UsageError: The runs do not belong together, or the output folder holds other results.
        EnvironmentFault: The output folder cannot be written to.
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
    with locked_output(output_dir):
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
    """Return (H, W) uint8: for each pixel the object with the highest sum of probabilities.

    In a run that does not know an object, its probability is 0.
    """
    object_ids = list(dict.fromkeys(object_id for run in scores for object_id in run.object_ids))
    total = np.zeros((len(object_ids) + 1, *scores[0].values.shape[1:]), np.uint32)
    for run in scores:
        total[[0, *(1 + object_ids.index(object_id) for object_id in run.object_ids)]] += run.values
    return np.array([0, *object_ids], np.uint8)[total.argmax(0)]


def read_scores(path: Path) -> SavedScores:
    """Read probabilities saved by `eval.py`. Raises VideoError."""
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
    """Write the masks of one video, all or none."""
    mask = next(iter(sorted((folders[0].parent / "masks" / video).glob("*.png"))), None)
    palette = None if mask is None else read_mask(mask, DataConfig.max_pixels).palette
    output = MaskFolder(VideoDetails(output_dir, video, palette))
    with output.whole():
        for index, (name, scores) in enumerate(_frames(folders, video)):
            check()  # stop if a signal was received
            output.write(Item(Frame(index, name, NO_PICTURE), merge_frame(scores), {}, None))


def _frames(folders: list[Path], video: str) -> Iterator[tuple[str, list[SavedScores]]]:
    """Yield each frame's name and its probabilities in all runs, one frame at a time."""
    names = [{path.stem for path in (folder / video).glob("*.npz")} for folder in folders]
    differing = _not_in_all(names)
    if differing or not names[0]:
        what = f"not all have {name_some(differing)}" if differing else "there are none"
        raise VideoError(f"frames with scores differ between the runs: {what}")
    for name in sorted(names[0], key=natural_key):
        scores = [read_scores(folder / video / f"{name}.npz") for folder in folders]
        sizes = {frame_scores.values.shape[1:] for frame_scores in scores}
        if len(sizes) > 1:
            raise VideoError(f"frame {name}: scores differ in size (height, width): {sorted(sizes)}")
        yield name, scores


def _refuse_other_runs(record: Path, runs: list[str], overwrite: bool) -> None:
    try:
        merged = json.loads(record.read_text(encoding="utf-8"))["runs"]
    except (OSError, ValueError, KeyError, TypeError):
        return
    if merged != runs and not overwrite:
        raise UsageError(
            f"{record.parent} holds masks merged from other runs ({', '.join(merged)}). "
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


def _not_in_all(sets: list[set[str]]) -> list[str]:
    return sorted(sets[0].union(*sets) - sets[0].intersection(*sets))
