"""Scoring one video by the DAVIS rules: which objects count from where, and what does not fit."""

from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from ..config import choice
from ..errors import VideoError
from ..io.listing import counted, name_some
from .metrics import EMPTY, VOID, Metric, chosen_metrics, ids_in, score_objects
from .scores import FrameScore, ObjectScore, Rules, VideoScore, mean_measures, measure_object

MANY_IDS = 16  # that nobody annotated: more are no ids but grey levels

Metrics = Mapping[str, Metric]


def score_video(
    predictions: Sequence[np.ndarray | None],
    annotations: Sequence[np.ndarray],
    rules: Rules | str = Rules.auto,
    name: str = "video",
    frames: Sequence[str] | None = None,
    metrics: Sequence[str] = ("J", "F"),
) -> VideoScore:
    """Score one video in memory.

    Args:
        predictions: (H, W) uint8 masks, frame by frame; the first and the last are not used.
        annotations: (H, W) uint8 masks of the same frames.
        rules: See `Rules`.
        name: Of the video, for messages.
        frames: Names of the frames; None: 0, 1, 2, ...
        metrics: Names, see METRICS.

    Raises:
        VideoError: Ids, sizes or the number of masks do not fit.
        UsageError: A metric that nobody registered.
    """
    chosen, rules = chosen_metrics(metrics), choice(Rules, rules, "rules")
    if len(predictions) != len(annotations) or len(annotations) < 3:
        raise VideoError(
            f"{name}: {len(predictions)} predictions for {len(annotations)} annotations; as many are needed, "
            "and at least 3, since the first and the last are not scored"
        )
    if rules is Rules.auto:
        rules = rules_for(annotations[:1])
    scores = [score_frame(None, annotations[0], rules, chosen)]
    for prediction, annotation in zip(predictions[1:-1], annotations[1:-1], strict=True):
        if prediction is None or prediction.shape != annotation.shape:
            got = "none" if prediction is None else f"{prediction.shape}"
            scores.append(FrameScore(problem=f"the prediction is {got}, the annotation {annotation.shape}"))
        else:
            scores.append(score_frame(prediction, annotation, rules, chosen))
    scores.append(score_frame(None, annotations[-1], rules, chosen))
    return gather_video(name, frames or [str(i) for i in range(len(annotations))], scores, rules, tuple(chosen))


def rules_for(firsts: Iterable[np.ndarray]) -> Rules:
    """davis16 where all masks hold nothing but 0 and 255, and one of them 255."""
    found = {object_id for mask in firsts for object_id in ids_in(mask)}
    return Rules.davis16 if found == {VOID} else Rules.davis17


def score_frame(prediction: np.ndarray | None, annotation: np.ndarray, rules: Rules, metrics: Metrics) -> FrameScore:
    """Score one frame; masks (H, W) uint8 of one shape; prediction None: only look what is annotated.

    rules: davis16 or davis17.
    """
    annotated = ids_in(annotation)
    has_void = rules is Rules.davis17 and VOID in annotated
    if has_void:
        judged = annotation != VOID
        annotation = annotation * judged
        annotated = annotated[:-1]
        prediction = None if prediction is None else prediction * judged
    if prediction is None:
        return FrameScore(annotated, has_void=has_void)
    predicted = ids_in(prediction)
    objects = sorted({*annotated, *predicted})
    if rules is Rules.davis16:
        annotation, prediction = (annotation > 0).view(np.uint8), (prediction > 0).view(np.uint8)
        objects = [1]
    values = score_objects(prediction, annotation, objects, list(metrics.values()))
    return FrameScore(annotated, predicted, values, has_void)


def gather_video(
    name: str, frames: Sequence[str], scores: Sequence[FrameScore], rules: Rules, metrics: Sequence[str]
) -> VideoScore:
    """The video's score from those of its annotated frames, first and last included (they do not count).

    An object counts from its first annotated frame on; where neither mask shows it, every metric is 1. Raises
    VideoError that tells what was wrong.
    """
    check_frames(frames, scores)
    first_seen: dict[int, int] = {}
    for i, score in enumerate(scores):
        for object_id in score.annotated:
            first_seen.setdefault(object_id, i)
    if not first_seen:
        raise VideoError("no object is annotated: all masks are background" + " or void" * scores[0].has_void)
    check_ids(frames, scores, set(first_seen), rules)
    if rules is Rules.davis16:
        first_seen = {1: 0}
    counted = scores[1:-1]
    objects, unscored = [], []
    absent = (EMPTY,) * len(metrics)
    for object_id in sorted(first_seen):
        start = max(first_seen[object_id] - 1, 0)  # among the counted frames
        if start == len(counted):
            unscored.append(object_id)
            continue
        of_frames = np.array([score.values.get(object_id, absent) for score in counted[start:]], np.float64)
        values = dict(zip(metrics, of_frames.T.copy(), strict=True))
        objects.append(ObjectScore(object_id, start, values, measure_object(values)))
    if not objects:
        raise VideoError("objects are annotated on the last frame only, which is not scored")
    return VideoScore(
        name,
        tuple(frames[1:-1]),
        tuple(objects),
        mean_measures([scored.measures for scored in objects]),
        tuple(unscored),
        any(score.has_void for score in scores),
    )


def check_frames(frames: Sequence[str], scores: Sequence[FrameScore]) -> None:
    """Raise VideoError where frames could not be scored: the first one, and how many others."""
    failed = [(frame, score.problem) for frame, score in zip(frames, scores, strict=True) if score.problem]
    if failed:
        frame, problem = failed[0]
        others = f" (and more in {counted(len(failed) - 1, 'other frame')})" if len(failed) > 1 else ""
        raise VideoError(f"frame {frame}: {problem}{others}")


def check_ids(frames: Sequence[str], scores: Sequence[FrameScore], known: set[int], rules: Rules) -> None:
    """Raise VideoError at the first frame that predicts objects which no annotation of the video has.

    known: ids annotated anywhere. davis16 takes any values, but no more kinds of them than annotated.
    """
    seen: set[int] = set()
    for frame, score in zip(frames, scores, strict=True):
        seen |= set(score.predicted)
        unknown = seen if rules is Rules.davis16 else seen - known
        if len(unknown) <= (len(known) if rules is Rules.davis16 else 0):
            continue
        message = (
            f"frame {frame}: the prediction has {listed(unknown)}, but the annotations of this video have "
            f"only {listed(known)}"
        )
        if len(unknown) > MANY_IDS:
            message += "; so many values are no labels: probabilities, or smoothed edges?"
        elif unknown == {VOID} and len(known) == 1:
            message += "; with rules=davis16 whatever is not 0 is the one object"
        raise VideoError(message)


def listed(ids: Iterable[int]) -> str:
    """`label 1`, `labels 1, 2, 3 and 4 more`."""
    names = [str(value) for value in sorted(ids)]
    return ("label " if len(names) == 1 else "labels ") + name_some(names)
