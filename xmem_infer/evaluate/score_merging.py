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
from ..scoring.pairing import existing
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
    """The saved probabilities of one frame in one run."""

    object_ids: list[int]  # of channels 1 to O
    values: np.ndarray  # (O + 1, H, W) uint8, background first


def merge_runs(config: MergeConfig) -> int:
    """Write masks to output_dir/masks/<video> by averaging the saved probabilities of all runs.

    Returns the exit code: 0, or 1 if some videos failed. Raises UsageError if the runs do not belong together or the
    output folder holds other results, EnvironmentFault if it cannot be written to.
    """
    folders = [existing(Path(run).expanduser(), "runs") / "scores" for run in config.runs]
    if missing := [folder for folder in folders if not folder.is_dir()]:
        raise UsageError(f"{missing[0]} does not exist: run eval.py with output.scores=true to save scores")
    output_dir = Path(config.output_dir).expanduser()
    if len(folders) < 2:
        raise UsageError(f"runs={config.runs} is not enough: give two output folders of eval.py or more, runs=[a,b]")
    if any((output_dir / "records").glob("*.json")) or output_dir.resolve() in [f.parent.resolve() for f in folders]:
        raise UsageError(f"output_dir={output_dir} holds results of a run of eval.py; give another one")
    runs, merged = [str(folder.parent.resolve()) for folder in folders], _merged_runs(output_dir)
    if merged and merged != runs and not config.overwrite:
        raise UsageError(
            f"{output_dir} holds masks merged from other runs ({', '.join(merged)}). "
            "Give another output_dir, or overwrite=true to replace them"
        )
    videos = _common_names(folders, [{path.name for path in list_folders(folder)} for folder in folders], UsageError)
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
    for name in _common_names(folders, names, VideoError):
        scores = [read_scores(folder / video / f"{name}.npz") for folder in folders]
        sizes = {frame_scores.values.shape[1:] for frame_scores in scores}
        if len(sizes) > 1:
            raise VideoError(f"frame {name}: scores differ in size (height, width): {sorted(sizes)}")
        yield name, scores


def _merged_runs(output_dir: Path) -> list[str]:
    """Return the runs whose masks were merged into this folder before."""
    try:
        runs: list[str] = json.loads((output_dir / "merge.json").read_text(encoding="utf-8"))["runs"]
    except (OSError, ValueError, KeyError, TypeError):
        return []
    return runs


def _common_names(folders: list[Path], names: list[set[str]], refuse: type[UsageError | VideoError]) -> list[str]:
    """Return the names of videos or frames in natural order. Raises `refuse` unless all folders have the same."""
    if differing := sorted(names[0].union(*names) - names[0].intersection(*names)):
        raise refuse(f"the runs differ: not all have scores of {name_some(differing)}")
    if not names[0]:
        raise refuse(f"{folders[0]} holds no scores")
    return sorted(names[0], key=natural_key)
