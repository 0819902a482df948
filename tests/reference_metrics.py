"""The DAVIS measures computed pixel by pixel from their definition: the reference for xmem_infer/scoring/metrics.py.

Semi-supervised rules: the first and the last annotated frame are dropped. An object counts from its first
annotated frame. davis16: all non-zero pixels are the one object. davis17: 255 is void, such pixels are ignored.
"""

import math

import numpy as np


def jaccard(prediction, annotation):
    """Intersection over union of two (H, W) bool masks; 1 where both are empty."""
    height, width = annotation.shape
    both = either = 0
    for y in range(height):
        for x in range(width):
            both += prediction[y, x] and annotation[y, x]
            either += prediction[y, x] or annotation[y, x]
    return both / either if either else 1.0


def boundary(mask):
    """Return the boundary pixels (y, x) of a (H, W) bool mask: those unlike the right, lower or diagonal neighbour.

    The last row has a right neighbour only, the last column a lower one only, the last pixel none.
    """
    height, width = mask.shape
    found = []
    for y in range(height):
        for x in range(width):
            if y < height - 1 and x < width - 1:
                neighbours = [mask[y, x + 1], mask[y + 1, x], mask[y + 1, x + 1]]
            elif y < height - 1:
                neighbours = [mask[y + 1, x]]
            elif x < width - 1:
                neighbours = [mask[y, x + 1]]
            else:
                neighbours = []
            if any(neighbour != mask[y, x] for neighbour in neighbours):
                found.append((y, x))
    return found


def near(points, others, radius):
    """Count the `points` that are at most `radius` px from any of `others`."""
    if not points or not others:
        return 0
    difference = np.array(points)[:, None] - np.array(others)[None]
    return int(((difference**2).sum(axis=2).min(axis=1) <= radius**2).sum())


def boundary_f(prediction, annotation, radius=None):
    """F of two (H, W) bool masks; radius None: ceil(0.008 * diagonal)."""
    if radius is None:
        radius = math.ceil(0.008 * np.linalg.norm(annotation.shape))
    predicted, annotated = boundary(prediction), boundary(annotation)
    if not predicted and not annotated:
        precision, recall = 1, 1
    elif not predicted:
        precision, recall = 1, 0
    elif not annotated:
        precision, recall = 0, 1
    else:
        precision = near(predicted, annotated, radius) / float(len(predicted))
        recall = near(annotated, predicted, radius) / float(len(annotated))
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


def statistics(values):
    """Return mean, recall and decay over one object's frames, computed like the official tool."""
    values = np.array(values, np.float64)
    ends = [int(end) for end in np.round(np.linspace(1, len(values), 5) + 1e-10) - 1]
    quarters = [values[ends[i] : ends[i + 1] + 1] for i in range(4)]
    return np.nanmean(values), np.nanmean(values > 0.5), np.nanmean(quarters[0]) - np.nanmean(quarters[3])


def objects_of(annotations, rules):
    """Label -> index of the first annotated frame from which it counts."""
    if rules == "davis16":
        return {1: 0}
    first = {}
    for i, annotation in enumerate(annotations):
        for label in np.unique(annotation):
            if label not in (0, 255):
                first.setdefault(int(label), i)
    return first


def object_mask(mask, annotation, label, rules):
    """Return the (H, W) bool mask of the object in `mask`, outside the void pixels of the annotation."""
    if rules == "davis16":
        return mask > 0
    return (mask == label) & (annotation != 255)


def score_video(predictions, annotations, rules):
    """Per object [J mean, J recall, J decay, F mean, F recall, F decay], by label."""
    scores = {}
    for label, first in sorted(objects_of(annotations, rules).items()):
        j, f = [], []
        for i in range(1, len(annotations) - 1):
            if i < first:
                continue
            prediction = object_mask(predictions[i], annotations[i], label, rules)
            annotation = object_mask(annotations[i], annotations[i], label, rules)
            j.append(jaccard(prediction, annotation))
            f.append(boundary_f(prediction, annotation))
        if j:
            scores[label] = [*statistics(j), *statistics(f)]
    return scores


def mean_scores(objects):
    """{J&F, J, J_recall, ...}: means over objects, in order; J&F from the mean J and the mean F."""
    columns = list(zip(*objects, strict=True))
    names = ("J", "J_recall", "J_decay", "F", "F_recall", "F_decay")
    means = {name: np.mean(column) for name, column in zip(names, columns, strict=True)}
    return {"J&F": (means["J"] + means["F"]) / 2, **means}
