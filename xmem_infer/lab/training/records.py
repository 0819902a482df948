"""Records of a run: loss and validation by samples, as JSON lines and as a picture."""

import json
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from ...io.atomic import write_whole
from ..charts import new_figure, save

MEAN_OF = 20  # steps that are averaged for a line of loss.jsonl


class Records:
    """loss.jsonl (means of up to 20 steps), validation.jsonl and settings.jsonl in the run's folder.

    When a run is resumed, records from after its checkpoint are dropped.
    """

    def __init__(self, run: Path, seen: int):
        self.run = run
        self._steps: list[dict[str, float]] = []
        for name in ("loss", "validation", "settings"):
            kept = "".join(json.dumps(row) + "\n" for row in read_rows(run, name) if row["samples"] <= seen)
            write_whole(_file(run, name), partial(Path.write_text, data=kept))
        self.best = max((row["mean"] for row in read_rows(run, "validation")), default=-1.0)

    def add_settings(self, seen: int, settings: dict[str, Any]) -> list[str]:
        """Record the settings from this sample on. Return the names of those that differ from the start of the run."""
        rows = read_rows(self.run, "settings")
        if not rows or rows[-1]["settings"] != settings:
            _append(self.run, "settings", {"samples": seen, "settings": settings})
        initial = rows[0]["settings"] if rows else settings
        return [name for name in settings if settings[name] != initial.get(name)]

    def add_step(self, seen: int, parts: dict[str, float]) -> None:
        self._steps.append({"samples": seen, **parts})
        if len(self._steps) >= MEAN_OF:
            self.flush()

    def add_validation(self, seen: int, scores: dict[str, float]) -> bool:
        """Record scores by clip. Return whether their mean is the best so far."""
        mean = float(np.mean(list(scores.values())))
        _append(self.run, "validation", {"samples": seen, "mean": mean, "clips": scores})
        before, self.best = self.best, max(self.best, mean)
        return mean > before

    def flush(self) -> None:
        if self._steps:
            means = {key: float(np.mean([step[key] for step in self._steps])) for key in self._steps[0]}
            _append(self.run, "loss", {**means, "samples": self._steps[-1]["samples"]})
            self._steps = []


def read_rows(run: Path, name: str) -> list[dict]:
    """Read the rows of <run>/<name>.jsonl, if it exists. A last line cut short by a kill is skipped."""
    path = _file(run, name)
    lines = path.read_text().split("\n")[:-1] if path.exists() else []
    return [json.loads(line) for line in lines]


def plot_curves(run: Path) -> None:
    """Draw training.png: loss and its parts, J&F by clip. Raises EnvironmentFault without matplotlib."""
    loss, validation = read_rows(run, "loss"), read_rows(run, "validation")
    figure = new_figure(11, 4)
    left, right = figure.subplots(1, 2)
    left.set(xlabel="samples", ylabel=f"training loss (means of up to {MEAN_OF} steps)")
    for key in ("loss", "cross_entropy", "dice", "key") if loss else ():
        label = key.replace("_", " ")
        left.plot([row["samples"] for row in loss], [row[key] for row in loss], label=label, linewidth=1)
    right.set(xlabel="samples", ylabel="validation J&F", ylim=(0, 1))
    samples = [row["samples"] for row in validation]
    for name in sorted({name for row in validation for name in row["clips"]}):
        right.plot(samples, [row["clips"].get(name) for row in validation], linewidth=0.7, label=name)
    if validation:
        right.plot(samples, [row["mean"] for row in validation], "k-o", markersize=3, label="mean")
    left.set_ylim(0, None)
    for axes in (left, right):
        if axes.lines:
            axes.legend(fontsize=7)
    save(figure, run, "training")


def _file(run: Path, name: str) -> Path:
    return run / f"{name}.jsonl"


def _append(run: Path, name: str, row: dict) -> None:
    with _file(run, name).open("a") as file:
        file.write(json.dumps(row) + "\n")
