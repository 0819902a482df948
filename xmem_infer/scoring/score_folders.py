"""Scoring folders of masks by the DAVIS rules, in parallel over frames; what `scripts/score.py` does."""

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

CHUNK_FRAMES = 8  # that go to a process together: few, so that an interruption is felt at once


@dataclass
class ScoreConfig:
    predictions: str | None = None  # folder of video folders with PNG masks, or an output_dir of eval.py
    annotations: str | None = None  # the same, or a data set's root (Annotations/480p in it is found)
    output_dir: str | None = None  # scores.csv, scores.json, pictures; null: beside the predictions
    images: str | None = None  # frames behind the sheets of worst frames; null: JPEGImages beside Annotations
    videos: Any = None  # names, [a,b], or a text file with one per line (ImageSets/2017/val.txt); null: all
    rules: Rules = Rules.auto  # davis16: not 0 is the one object; davis17: labels are objects, 255 void
    metrics: list[str] = field(default_factory=lambda: ["J", "F"])  # names of metrics; J&F is their mean
    workers: int | None = None  # processes; null: one per core
    worst_frames: int = 8  # per video; 0: no sheets

    def __post_init__(self) -> None:
        read_choices(self)
        require(self.workers is None or self.workers >= 1, "workers", self.workers, "null or at least 1")
        require_names(self.metrics, "metrics")
        require(self.worst_frames >= 0, "worst_frames", self.worst_frames, "0 (no sheets) or more")


def score(config: ScoreConfig) -> int:
    """Score, log the table and what went wrong, and write the report; returns 0, or 1 where videos were not scored.

    Where none was scored nothing is written: an earlier report stays.

    Raises UsageError for a wrong request, EnvironmentFault where the output cannot be written.
    """
    predictions, annotations = _folder(config.predictions, "predictions"), _folder(config.annotations, "annotations")
    images = None if config.images is None else _folder(config.images, "images")
    pairing = pair_folders(predictions, annotations, _read_names(config.videos))
    output_dir = _output_folder(config.output_dir, pairing)
    workers = config.workers or usable_cores()
    scores = score_pairing(pairing, config.rules, workers, progress=True, metrics=config.metrics)
    if not scores.videos:
        log_scores(scores, ())
        log.info(f"nothing could be scored, so nothing was written to {output_dir}")
        return 1
    remarks = write_report(scores, output_dir, images, config.worst_frames, workers)
    if scores.problems and config.videos is None:
        remarks.append("to score some videos only, name them: videos=[a,b], or videos=FILE with a name per line")
    log_scores(scores, remarks)
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
    """Score all videos of a folder of predicted masks. What is wrong with one is told in `problems`.

    Args:
        predictions: See `pair_folders` for what the folders may be.
        annotations: The true masks.
        rules: See `Rules`.
        workers: Processes; with more than one the calling script needs its `__main__` guard.
        videos: Names, in the order of the means; None: all.
        metrics: Names, see METRICS.

    Raises:
        UsageError: There is nothing to compare, or a metric that nobody registered.
    """
    pairing = pair_folders(Path(predictions), Path(annotations), videos)
    return score_pairing(pairing, rules, workers, metrics=metrics)


def score_pairing(
    pairing: Pairing,
    rules: Rules | str,
    workers: int = 1,
    progress: bool = False,
    metrics: Sequence[str] = ("J", "F"),
) -> SetScores:
    """Score what `pair_folders` found; see `score_folders`."""
    chosen = chosen_metrics(metrics)  # the functions travel to the workers, where nobody may have registered them
    problems, rules = dict(pairing.problems), choice(Rules, rules, "rules")
    if rules is Rules.auto:
        rules = rules_for(_first_masks(pairing.pairs))
    files = [files for pair in pairing.pairs for files in _files_to_compare(pair)]
    results = in_parallel(partial(score_files, rules=rules, metrics=chosen), files, workers, CHUNK_FRAMES)
    bar = tqdm(results, total=len(files), desc="scoring", unit="frame", disable=None if progress else True)
    frame_scores = iter(list(bar))
    scored = []
    for pair in pairing.pairs:
        of_video = list(islice(frame_scores, len(pair.frames)))
        try:
            scored.append(gather_video(pair.name, pair.frames, of_video, rules, tuple(chosen)))
        except VideoError as error:
            problems[pair.name] = str(error)
    pairs = {pair.name: pair for pair in pairing.pairs}
    return SetScores(rules, pairing.predictions, pairing.annotations, tuple(scored), problems, pairs, tuple(chosen))


def score_files(files: tuple[Path, Path | None], rules: Rules, metrics: Metrics) -> FrameScore:
    """Score one frame from its annotation and its prediction (None: only look); an unreadable mask is a problem."""
    annotation_file, prediction_file = files
    try:
        annotation = read_ids(annotation_file)
        prediction = None if prediction_file is None else read_ids(prediction_file, annotation.shape)
    except VideoError as error:
        return FrameScore(problem=str(error))
    return score_frame(prediction, annotation, rules, metrics)


def _first_masks(pairs: Iterable[VideoPair]) -> Iterator[np.ndarray]:
    """The first annotation of each video; an unreadable one is left for later."""
    for pair in pairs:
        with suppress(VideoError):
            yield read_ids(pair.annotations[0])


def _files_to_compare(pair: VideoPair) -> list[tuple[Path, Path | None]]:
    """Annotation and prediction of each frame; of the first and last frame only the annotation is looked at."""
    return list(zip(pair.annotations, (None, *pair.predictions[1:-1], None), strict=True))


def _folder(given: str | None, key: str) -> Path:
    """The folder a setting names; UsageError where it is not given or is none."""
    if given is None:
        raise UsageError(f"{key} is not given: xmem-infer score predictions=FOLDER annotations=FOLDER")
    return existing(Path(given).expanduser(), key)


def _read_names(videos: Any) -> list[str] | None:
    """Names of videos, given as a list or one per line of a text file such as ImageSets/2017/val.txt; None for None."""
    if videos is None:
        return None
    try:
        is_file = isinstance(videos, str | Path)
        given = Path(videos).expanduser().read_text(encoding="utf-8").splitlines() if is_file else map(str, videos)
    except (OSError, UnicodeDecodeError, TypeError) as error:
        raise UsageError(
            f"videos={videos} cannot be read ({error}); give names, videos=[a,b], or a text file, a name per line"
        ) from error
    names = list(dict.fromkeys(name.strip() for name in given if name.strip()))
    if not names:
        raise UsageError(f"videos={videos} is empty; give names, videos=[a,b], or a text file with a name per line")
    return names


def _output_folder(given: str | None, pairing: Pairing) -> Path:
    """Where the report goes: `given`, else beside the predictions; for one video's masks output/<video>.

    Not among the masks, where the next run would take the report's pictures for a video.
    """
    if given is None:
        return Path("output") / pairing.one_video if pairing.one_video else pairing.predictions.parent
    output_dir = Path(given).expanduser()
    if output_dir.resolve() in (pairing.predictions.resolve(), pairing.annotations.resolve()):
        raise UsageError(f"output_dir={given} is the folder of masks itself; give another one for the report")
    return output_dir
