"""What a run leaves to look at: loss and validation by samples, as JSON lines and as pictures."""

import json
from pathlib import Path

import numpy as np


class Records:
    """loss.jsonl (means of 20 steps) and validation.jsonl in the run's folder; resuming drops what lies ahead."""

    every = 20

    def __init__(self, run: Path, seen: int):
        run.mkdir(parents=True, exist_ok=True)
        self.run = run
        self._steps: list[dict[str, float]] = []
        for name in ("loss", "validation"):
            kept = [row for row in read_rows(run, name) if row["samples"] <= seen]
            _file(run, name).write_text("".join(json.dumps(row) + "\n" for row in kept))
        self.best = max((row["mean"] for row in read_rows(run, "validation")), default=-1.0)

    def step(self, seen: int, parts: dict[str, float]) -> None:
        self._steps.append({"samples": seen, **parts})
        if len(self._steps) >= self.every:
            self.flush()

    def validation(self, seen: int, scores: dict[str, float]) -> bool:
        """Note scores by clip; whether their mean is the best so far."""
        mean = float(np.mean(list(scores.values())))
        _append(self.run, "validation", {"samples": seen, "mean": mean, "clips": scores})
        better = mean > self.best
        self.best = max(self.best, mean)
        return better

    def flush(self) -> None:
        if self._steps:
            means = {key: float(np.mean([step[key] for step in self._steps])) for key in self._steps[0]}
            _append(self.run, "loss", {**means, "samples": self._steps[-1]["samples"]})
            self._steps = []


def read_rows(run: Path, name: str) -> list[dict]:
    """Rows of <run>/<name>.jsonl; none where it does not exist."""
    path = _file(run, name)
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def plot_curves(run: Path, out: Path) -> None:
    """Draw out/training.png and .svg: loss and its parts, learning rate, J&F by clip."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    loss, validation = read_rows(run, "loss"), read_rows(run, "validation")
    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4))
    samples = [row["samples"] for row in loss]
    for key in ("loss", "cross_entropy", "dice", "key"):
        left.plot(samples, [row[key] for row in loss], label=key.replace("_", " "), linewidth=1)
    left.set(xlabel="samples", ylabel="training loss (means of 20 steps)", ylim=(0, None))
    left.legend()
    names = sorted({name for row in validation for name in row["clips"]})
    for name in names:
        rows = [row for row in validation if name in row["clips"]]
        right.plot([r["samples"] for r in rows], [r["clips"][name] for r in rows], linewidth=0.7, label=name)
    if validation:
        where, means = [row["samples"] for row in validation], [row["mean"] for row in validation]
        right.plot(where, means, "k-o", markersize=3, label="mean")
        right.legend(fontsize=7)
    right.set(xlabel="samples", ylabel="validation J&F", ylim=(0, 1))
    figure.tight_layout()
    out.mkdir(parents=True, exist_ok=True)
    for suffix in ("png", "svg"):
        figure.savefig(out / f"training.{suffix}", dpi=110)
    plt.close(figure)


def _file(run: Path, name: str) -> Path:
    return run / f"{name}.jsonl"


def _append(run: Path, name: str, row: dict) -> None:
    with _file(run, name).open("a") as file:
        file.write(json.dumps(row) + "\n")
