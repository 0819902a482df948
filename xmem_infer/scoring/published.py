"""Compare measured scores with those published for a checkpoint."""

from pathlib import Path
from typing import Any

from ..config import DatasetConfig
from .scores import SetScores, figure_names


def compare(dataset: DatasetConfig, weights: Path, scores: SetScores) -> dict[str, Any] | None:
    """Return the published scores of a checkpoint and the differences, as fractions of 1, for scores.json.

    None if no scores are published for the checkpoint, or if the data set was not scored completely.
    """
    measured, published = scores.measures, _published(dataset, weights, scores)
    if not published or measured is None or len(scores.videos) not in dataset.videos:
        return None
    return {
        "dataset": dataset.title,
        "checkpoint": weights.stem,
        "figures": {name: round(percent / 100, 4) for name, percent in published.items()},
        "difference": {name: measured[name] - percent / 100 for name, percent in published.items()},
    }


def describe_comparison(dataset: DatasetConfig, weights: Path, scores: SetScores) -> str | None:
    """Return a line that compares the scores with the published ones or says why they cannot be compared.

    None if the data set has no published scores, or if videos could not be scored.
    """
    measured = scores.measures
    if not dataset.published or measured is None:
        return None
    if len(scores.videos) not in dataset.videos:
        return (
            f"{len(scores.videos)} videos were scored, {dataset.title} has {' or '.join(map(str, dataset.videos))}: "
            f"the published figures ({all_published(dataset)}) do not compare"
        )
    if weights.stem not in dataset.published:
        return f"published for {dataset.title}: {all_published(dataset)}; the weights here are {weights.stem}"
    parts = [
        f"{name} {100 * measured[name]:.1f} here, {percent:.1f} published ({100 * measured[name] - percent:+.1f})"
        for name, percent in _published(dataset, weights, scores).items()
    ]
    return f"{weights.stem} on {dataset.title}: {'; '.join(parts)}"


def _published(dataset: DatasetConfig, weights: Path, scores: SetScores) -> dict[str, float]:
    """Return the scores published for these weights, in percent, limited to those that were also measured."""
    names = figure_names(scores.metrics)
    return {name: value for name, value in dataset.published.get(weights.stem, {}).items() if name in names}


def all_published(dataset: DatasetConfig) -> str:
    """List all published scores in percent, for example "XMem: J&F 86.2, J 82.9, F 89.5; XMem-s012: J&F 87.7"."""
    return "; ".join(
        f"{checkpoint}: {', '.join(f'{name} {percent:.1f}' for name, percent in figures.items())}"
        for checkpoint, figures in dataset.published.items()
    )
