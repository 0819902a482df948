"""The figures of the paper beside those measured here."""

from pathlib import Path
from typing import Any

from ..config import DatasetConfig
from .scores import SetScores, figure_names


def is_whole(dataset: DatasetConfig, videos: int) -> bool:
    """Whether that many videos are all of the data set."""
    return videos in dataset.videos


def compare(dataset: DatasetConfig, weights: Path, scores: SetScores) -> dict[str, Any] | None:
    """For scores.json: published figures of this checkpoint and the differences, as fractions of 1.

    None where nothing is published for it, or where not the whole set was scored.
    """
    here, published = scores.measures, _published(dataset, weights, scores)
    if not published or here is None or not is_whole(dataset, len(scores.videos)):
        return None
    return {
        "dataset": dataset.title,
        "checkpoint": weights.stem,
        "figures": {name: round(percent / 100, 4) for name, percent in published.items()},
        "difference": {name: here[name] - percent / 100 for name, percent in published.items()},
    }


def describe_comparison(dataset: DatasetConfig, weights: Path, scores: SetScores) -> str | None:
    """One line that sets the scores beside the published ones, or says why they do not compare."""
    here = scores.measures
    if not dataset.published or here is None:
        return None
    if not is_whole(dataset, len(scores.videos)):
        return (
            f"{len(scores.videos)} videos were scored, {dataset.title} has {' or '.join(map(str, dataset.videos))}: "
            f"the published figures ({all_published(dataset)}) do not compare"
        )
    if weights.stem not in dataset.published:
        return f"published for {dataset.title}: {all_published(dataset)}; the weights here are {weights.stem}"
    found = [
        f"{name} {100 * here[name]:.1f} here, {percent:.1f} published ({100 * here[name] - percent:+.1f})"
        for name, percent in _published(dataset, weights, scores).items()
    ]
    return f"{weights.stem} on {dataset.title}: {'; '.join(found)}"


def _published(dataset: DatasetConfig, weights: Path, scores: SetScores) -> dict[str, float]:
    """Published percentages of these weights, of the figures that were measured here too."""
    names = figure_names(scores.metrics)
    return {name: value for name, value in dataset.published.get(weights.stem, {}).items() if name in names}


def all_published(dataset: DatasetConfig) -> str:
    """`XMem: J&F 86.2, J 82.9, F 89.5; XMem-s012: J&F 87.7`, in percent."""
    return "; ".join(
        f"{checkpoint}: {', '.join(f'{name} {percent:.1f}' for name, percent in figures.items())}"
        for checkpoint, figures in dataset.published.items()
    )
