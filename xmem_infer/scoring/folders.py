"""Scoring folders of masks by the DAVIS rules, in parallel over frames."""

from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
from tqdm import tqdm

from ..errors import VideoError
from .pairing import Pairing, VideoPair, pair_folders, read_labels
from .parallel import in_parallel
from .score_types import FrameScore, Rules, SetScores
from .video_scoring import gather_video, rules_for, score_frame, score_video

__all__ = ["score_folders", "score_video"]

CHUNK_FRAMES = 8  # frames per parcel of work: short, so that an interruption is felt at once


class Parcel(NamedTuple):
    """A few frames of a video from index `start` on: annotation and prediction files (None: only look)."""

    video: str
    start: int
    files: list[tuple[Path, Path | None]]


def score_folders(
    predictions: Path | str,
    annotations: Path | str,
    rules: Rules = Rules.auto,
    workers: int = 1,
    videos: Sequence[str] | None = None,
    progress: bool = False,
) -> SetScores:
    """Score all videos of a folder of predicted masks, see `pair_folders` for what the folders may be.

    workers: processes; with more than one the calling script needs its `__main__` guard. videos: names, in
    the order of the means; None: all. progress: a bar on a terminal. Raises UsageError where there is nothing
    to compare; what is wrong with single videos is told in `problems`, and the set then has no figures.
    """
    return score_pairing(pair_folders(Path(predictions), Path(annotations), videos), rules, workers, progress)


def score_pairing(pairing: Pairing, rules: Rules, workers: int = 1, progress: bool = False) -> SetScores:
    """Score what `pair_folders` found; see `score_folders`."""
    problems = dict(pairing.problems)
    if rules is Rules.auto:
        rules = detect_rules(pairing.pairs)
    parcels = [parcel for pair in pairing.pairs for parcel in cut(pair)]
    found: dict[str, dict[int, list[FrameScore]]] = {pair.name: {} for pair in pairing.pairs}
    total = sum(len(parcel.files) for parcel in parcels)
    with tqdm(total=total, desc="scoring", unit="frame", disable=None if progress else True) as bar:
        for parcel, scores in in_parallel(partial(score_parcel, rules=rules), parcels, workers):
            found[parcel.video][parcel.start] = scores
            bar.update(len(scores))
    scored = []
    for pair in pairing.pairs:
        frame_scores = [score for _, scores in sorted(found[pair.name].items()) for score in scores]
        try:
            scored.append(gather_video(pair.name, pair.frames, frame_scores, rules))
        except VideoError as error:
            problems[pair.name] = str(error)
    return SetScores(
        rules,
        pairing.predictions,
        pairing.annotations,
        tuple(scored),
        problems,
        {pair.name: pair for pair in pairing.pairs},
    )


def detect_rules(pairs: Iterable[VideoPair]) -> Rules:
    """davis16 or davis17, from the first annotation of each video; an unreadable one is left for later."""

    def firsts() -> Iterator[np.ndarray]:
        for pair in pairs:
            try:
                yield read_labels(pair.annotations[0])
            except VideoError:
                continue

    return rules_for(firsts())


def cut(pair: VideoPair) -> Iterator[Parcel]:
    """The video in parcels; of the first and last frame only the annotation is looked at."""
    files = list(zip(pair.annotations, (None, *pair.predictions[1:-1], None), strict=True))
    for start in range(0, len(files), CHUNK_FRAMES):
        yield Parcel(pair.name, start, files[start : start + CHUNK_FRAMES])


def score_parcel(parcel: Parcel, rules: Rules) -> list[FrameScore]:
    """Scores of a parcel's frames; unreadable and odd-sized masks become problems."""
    scores: list[FrameScore] = []
    likely: tuple[int, ...] = ()
    for annotation_file, prediction_file in parcel.files:
        try:
            annotation = read_labels(annotation_file)
            prediction = None if prediction_file is None else read_labels(prediction_file, annotation.shape)
        except VideoError as error:
            scores.append(FrameScore(problem=str(error)))
            continue
        scores.append(score_frame(prediction, annotation, rules, likely))
        likely = scores[-1].annotated
    return scores
