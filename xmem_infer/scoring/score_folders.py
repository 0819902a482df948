"""Score folders of masks by the DAVIS rules, in parallel over frames; used by `scripts/score.py`."""

import logging
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from ..config import choice, read_choices, require, require_names
from ..errors import UsageError, VideoError
from ..runtime.cores import usable_cores
from .metrics import chosen_metrics
from .pairing import Pairing, VideoPair, existing, pair_folders, read_ids
from .parallel import in_parallel
from .report import log_scores, write_report
from .score_video import Metrics, gather_video, rules_for, score_frame
from .scores import FrameScore, Rules, SetScores

log = logging.getLogger(__name__)

CHUNK_FRAMES = 8  # frames sent to a process together; few, so that an interrupt takes effect quickly


@dataclass
class ScoreConfig:
    predictions: str | None = None  # folder of video folders with PNG masks, or the output_dir of eval.py
    annotations: str | None = None  # the same, or the root of a data set (its Annotations/480p is used)
    output_dir: str | None = None  # folder for scores.csv, scores.json and pictures; null: next to the predictions
    images: str | None = None  # frames shown on the sheets of worst frames; null: JPEGImages next to Annotations
    videos: Any = None  # names, [a,b], or a text file with one name per line (ImageSets/2017/val.txt); null: all
    rules: Rules = Rules.auto  # davis16: all values but 0 are one object; davis17: ids are objects, 255 is void
    metrics: list[str] = field(default_factory=lambda: ["J", "F"])  # names of metrics; J&F is their mean
    workers: int | None = None  # number of processes; null: one per core
    worst_frames: int = 8  # number of worst frames shown per video; 0: no sheets

    def __post_init__(self) -> None:
        read_choices(self)
        require(self.workers is None or self.workers >= 1, "workers", self.workers, "null or at least 1")
        require_names(self.metrics, "metrics")
        require(self.worst_frames >= 0, "worst_frames", self.worst_frames, "0 (no sheets) or more")


def score(config: ScoreConfig) -> int:
    """Score two folders, log the table and all problems, and write the report; return the exit code, 0 or 1.

    If no video could be scored, nothing is written and a previous report is left unchanged. Raises UsageError for
    invalid settings or nothing to compare, EnvironmentFault if the report cannot be written.
    """
    predictions, annotations = _folder(config.predictions, "predictions"), _folder(config.annotations, "annotations")
    images = None if config.images is None else _folder(config.images, "images")
    pairing = pair_folders(predictions, annotations, _read_names(config.videos))
    output_dir = _output_folder(config.output_dir, pairing)
    workers = config.workers or usable_cores()
    scores = score_pairing(pairing, config.rules, workers, config.metrics)
    if not scores.videos:
        log_scores(scores, ())
        log.info(f"nothing could be scored, so nothing was written to {output_dir}")
        return 1
    write_report(scores, output_dir, images, config.worst_frames, workers)
    log.info(f"written to {output_dir}: scores.csv, scores.json and pictures")
    return 1 if scores.problems else 0


def score_folders(
    predictions: Path | str,
    annotations: Path | str,
    rules: Rules | str = Rules.auto,
    workers: int = 1,
    videos: Sequence[str] | None = None,
    metrics: Sequence[str] = ("J", "F"),
) -> SetScores:
    """Score all videos of a folder of predicted masks; those that could not be scored are listed in `problems`.

    Args:
        predictions: Folder of predicted masks, see `pair_folders` for the supported structures.
        annotations: Folder of ground truth masks.
        rules: See `Rules`.
        workers: Number of processes; with more than one, the calling script needs an `if __name__ == "__main__"` guard.
        videos: Names of the videos to score, in this order; None scores all.
        metrics: Names of registered metrics, see METRICS.

    Raises:
        UsageError: There is nothing to compare, or a metric is not registered.
    """
    pairing = pair_folders(Path(predictions), Path(annotations), videos)
    return score_pairing(pairing, rules, workers, metrics)


def score_pairing(pairing: Pairing, rules: Rules | str, workers: int, metrics: Sequence[str]) -> SetScores:
    """Score the videos that `pair_folders` has matched; for the arguments see `score_folders`."""
    chosen = chosen_metrics(metrics)  # functions, not names, because workers may not have them registered
    problems, rules = dict(pairing.problems), choice(Rules, rules, "rules")
    if rules is Rules.auto:
        rules = rules_for(_first_masks(pairing.pairs))
    files: list[tuple[Path, Path | None]] = []
    for pair in pairing.pairs:
        scored_frames = list(pair.annotations)[1:-1]  # the first and the last frame do not count
        predictions = (None, *(pair.predictions[frame] for frame in scored_frames), None)
        files += zip(pair.annotations.values(), predictions, strict=True)
    results = in_parallel(partial(score_files, rules=rules, metrics=chosen), files, workers, CHUNK_FRAMES)
    frame_scores = iter(list(tqdm(results, total=len(files), desc="scoring", unit="frame", disable=None)))
    scored = []
    for pair in pairing.pairs:
        video_frames = list(islice(frame_scores, len(pair.annotations)))
        try:
            scored.append(gather_video(pair.name, list(pair.annotations), video_frames, rules, tuple(chosen)))
        except VideoError as error:
            problems[pair.name] = str(error)
    pairs = {pair.name: pair for pair in pairing.pairs}
    return SetScores(rules, pairing.predictions, pairing.annotations, tuple(scored), problems, pairs, tuple(chosen))


def score_files(files: tuple[Path, Path | None], rules: Rules, metrics: Metrics) -> FrameScore:
    """Score the frame of an annotation and a prediction, see `score_frame`; an unreadable mask becomes a `problem`."""
    annotation_file, prediction_file = files
    try:
        annotation = read_ids(annotation_file)
        prediction = None if prediction_file is None else read_ids(prediction_file)
    except VideoError as error:
        return FrameScore(problem=str(error))
    return score_frame(prediction, annotation, rules, metrics)


def _first_masks(pairs: Iterable[VideoPair]) -> Iterator[np.ndarray]:
    """Yield the first annotation of each video; unreadable ones are skipped, since scoring reports them."""
    for pair in pairs:
        with suppress(VideoError):
            yield read_ids(next(iter(pair.annotations.values())))


def _folder(given: str | None, key: str) -> Path:
    if given is None:
        raise UsageError(f"{key} is not given: xmem-infer score predictions=FOLDER annotations=FOLDER")
    return existing(Path(given).expanduser(), key)


def _read_names(videos: Any) -> list[str] | None:
    """Return the names of videos from a list or a text file with one name per line."""
    if videos is None:
        return None
    try:
        is_file = isinstance(videos, str | Path)
        entries = Path(videos).expanduser().read_text(encoding="utf-8").splitlines() if is_file else map(str, videos)
    except (OSError, UnicodeDecodeError, TypeError) as error:
        raise UsageError(
            f"videos={videos} cannot be read ({error}); give names, videos=[a,b], or a text file, a name per line"
        ) from error
    names = list(dict.fromkeys(name.strip() for name in entries if name.strip()))
    if not names:
        raise UsageError(f"videos={videos} is empty; give names, videos=[a,b], or a text file with a name per line")
    return names


def _output_folder(given: str | None, pairing: Pairing) -> Path:
    """Return the folder for the report: `given`, else the parent of the predictions, or output/<video> for one video.

    Raises UsageError if it is a folder of masks, where the next run would take the report's pictures for a video.
    """
    if given is None:
        return Path("output") / pairing.one_video if pairing.one_video else pairing.predictions.parent
    output_dir = Path(given).expanduser()
    if output_dir.resolve() in (pairing.predictions.resolve(), pairing.annotations.resolve()):
        raise UsageError(f"output_dir={given} is the folder of masks itself; give another one for the report")
    return output_dir
