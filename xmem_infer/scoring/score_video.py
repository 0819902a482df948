"""Score one video by the DAVIS rules: from which frame each object counts, and checks of the predicted ids."""

from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from ..config import choice
from ..errors import VideoError
from ..io.images import size_words
from ..io.listing import name_some
from .metrics import EMPTY, VOID, Metric, chosen_metrics, ids_in, score_objects
from .scores import FrameScore, ObjectScore, Rules, VideoScore, mean_measures, measure_object

MANY_IDS = 16  # more unannotated ids than this are probably grey levels, not ids

Metrics = Mapping[str, Metric]


def score_video(
    predictions: Sequence[np.ndarray],
    annotations: Sequence[np.ndarray],
    rules: Rules | str = Rules.auto,
    name: str = "video",
) -> VideoScore:
    """Compute J and F of one video whose masks, (H, W) uint8, are in memory; frames are named 0, 1, 2, ...

    rules: see `Rules`; name: for messages. Raises VideoError if ids, sizes or the number of masks do not match.
    """
    metrics, rules = chosen_metrics(), choice(Rules, rules, "rules")
    if len(predictions) != len(annotations) or len(annotations) < 3:
        raise VideoError(
            f"{name}: {len(predictions)} predictions for {len(annotations)} annotations; as many are needed, "
            "and at least 3, since the first and the last are not scored"
        )
    if any(mask is None for mask in predictions[1:-1]):
        raise VideoError(f"{name}: a prediction is None")
    if rules is Rules.auto:
        rules = rules_for(annotations[:1])
    used = (None, *predictions[1:-1], None)
    scores = [score_frame(*masks, rules, metrics) for masks in zip(used, annotations, strict=True)]
    return gather_video(name, [str(i) for i in range(len(annotations))], scores, rules, tuple(metrics))


def rules_for(firsts: Iterable[np.ndarray]) -> Rules:
    """Choose the rules from the first mask of each video: davis16 if 255 is the only id, else davis17."""
    ids = {object_id for mask in firsts for object_id in ids_in(mask)}
    return Rules.davis16 if ids == {VOID} else Rules.davis17


def score_frame(prediction: np.ndarray | None, annotation: np.ndarray, rules: Rules, metrics: Metrics) -> FrameScore:
    """Score one frame; a prediction of None only collects the annotated ids.

    Masks are (H, W) uint8; those of different sizes become a `problem`. rules: davis16 or davis17, not auto.
    """
    if prediction is not None and prediction.shape != annotation.shape:
        sizes = f"the prediction is {size_words(prediction.shape)}, the annotation {size_words(annotation.shape)}"
        return FrameScore(problem=sizes)
    annotated = ids_in(annotation)
    has_void = rules is Rules.davis17 and VOID in annotated
    if has_void:
        is_scored = annotation != VOID
        annotation = annotation * is_scored
        annotated = annotated[:-1]
        prediction = None if prediction is None else prediction * is_scored
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
    """Combine the scores of a video's annotated frames; the first and the last are included but do not count.

    An object counts from its first annotated frame on. In frames where it is in neither mask, every metric is 1.
    Raises VideoError if a frame could not be scored or ids do not match.
    """
    first_seen: dict[int, int] = {}
    for i, (frame, score) in enumerate(zip(frames, scores, strict=True)):
        if score.problem:
            raise VideoError(f"frame {frame}: {score.problem}")
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
        start = max(first_seen[object_id] - 1, 0)  # index in `counted`
        if start == len(counted):
            unscored.append(object_id)
            continue
        by_frame = np.array([score.values.get(object_id, absent) for score in counted[start:]], np.float64)
        values = dict(zip(metrics, by_frame.T.copy(), strict=True))
        objects.append(ObjectScore(object_id, start, values, measure_object(values)))
    if not objects:
        raise VideoError("objects are annotated on the last frame only, which is not scored")
    mean, has_void = mean_measures([scored.measures for scored in objects]), any(score.has_void for score in scores)
    return VideoScore(name, tuple(frames[1:-1]), tuple(objects), mean, tuple(unscored), has_void)


def check_ids(frames: Sequence[str], scores: Sequence[FrameScore], known: set[int], rules: Rules) -> None:
    """Raise VideoError for the first frame with predicted ids that no annotation of the video contains.

    known: all annotated ids. By the davis16 rules ids may differ, but there must not be more than annotated.
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
    """List ids for a message: "label 1", "labels 1, 2, 3 and 4 more"."""
    names = [str(value) for value in sorted(ids)]
    return ("label " if len(names) == 1 else "labels ") + name_some(names)
