"""Speed of scoring against the public package vos-benchmark, in one run.

    python scripts/benchmark_scoring.py [annotations=FOLDER] [clips=8] [workers=2] [rounds=5]

Both score the same masks with the same number of processes, in turns; figures must agree or nothing is timed.
annotations: a folder of video folders (DAVIS: .../Annotations/480p); without it clips of 480p are drawn.
Predictions are the annotations, moved and thinned a little.
"""

import signal
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from xmem_infer.config import require
from xmem_infer.errors import EnvironmentFault, UsageError

HEIGHT, WIDTH, FRAMES = 480, 854, 60  # of drawn clips


@dataclass
class ScoringBenchmark:
    annotations: str | None = None
    clips: int = 8
    workers: int = 2
    rounds: int = 5

    def __post_init__(self) -> None:
        for key in ("clips", "workers", "rounds"):
            require(getattr(self, key) >= 1, key, getattr(self, key), "at least 1")


def main() -> int:
    """0: measured; 1: the figures differ; 2: wrong request; 3: vos-benchmark is missing; 130, 143: signals."""
    # Imported here, since every scoring process imports this file anew
    from xmem_infer.cli import run

    return run("benchmark_scoring", ScoringBenchmark, benchmark)


def benchmark(config: ScoringBenchmark) -> int:
    with tempfile.TemporaryDirectory() as scratch:
        return measure(config, Path(scratch))


def measure(config: ScoringBenchmark, scratch: Path) -> int:
    """Print the time of every round and the ratio of the medians."""
    try:
        from vos_benchmark.benchmark import benchmark as their_benchmark
    except ImportError as error:
        raise EnvironmentFault("what is compared with is missing: pip install vos-benchmark") from error

    from xmem_infer.io.listing import list_folders
    from xmem_infer.scoring.score_folders import score_folders

    annotations = Path(config.annotations).expanduser() if config.annotations else draw_clips(scratch, config.clips)
    videos = [folder.name for folder in list_folders(annotations)][: config.clips]
    if not videos:
        raise UsageError(f"annotations={annotations} holds no folder per video: give .../Annotations/480p of a DAVIS")
    predictions = scratch / "predictions"
    frames = sum(disturb(annotations / video, predictions / video) for video in videos)

    def ours() -> list[float]:
        scores = score_folders(predictions, annotations, workers=config.workers, videos=videos)
        figures = scores.measures
        return [100 * figures["J"], 100 * figures["F"]] if figures else []

    def theirs() -> list[float]:
        with usual_signals():
            _, j, f, _ = their_benchmark(
                [str(annotations)], [str(predictions)], strict=False, num_processes=config.workers, verbose=False
            )
        return [float(j[0]), float(f[0])]

    print(f"{len(videos)} clips, {frames} frames, {config.workers} processes each, {config.rounds} rounds in turns")
    print("round      ours    vos-benchmark    ratio")
    times: list[tuple[float, float]] = []
    for turn in range(config.rounds):
        taken, figures = {}, {}
        for run in (ours, theirs) if turn % 2 == 0 else (theirs, ours):
            start = time.perf_counter()
            figures[run] = run()
            taken[run] = time.perf_counter() - start
        # vos-benchmark averages percent, this package fractions: they may part in the last bit or two
        if len(figures[ours]) < 2 or max(abs(a - b) for a, b in zip(*figures.values(), strict=True)) > 1e-9:
            print(f"J and F differ: ours {figures[ours]}, vos-benchmark {figures[theirs]}", file=sys.stderr)
            return 1
        times.append((taken[ours], taken[theirs]))
        print(f"{turn + 1:5} {taken[ours]:8.2f}s {taken[theirs]:14.2f}s {taken[theirs] / taken[ours]:8.2f}")
    medians = [statistics.median(column) for column in zip(*times, strict=True)]
    print(f"median{medians[0]:8.2f}s {medians[1]:14.2f}s {medians[1] / medians[0]:8.2f}")
    print(f"J {figures[ours][0]:.6f}, F {figures[ours][1]:.6f} percent, the same in both")
    return 0


@contextmanager
def usual_signals() -> Iterator[None]:
    """Without `run`'s handlers, which forked workers inherit: their pool ends them by SIGTERM, and waits."""
    usual = {signal.SIGINT: signal.default_int_handler, signal.SIGTERM: signal.SIG_DFL}
    before = {number: signal.signal(number, handler) for number, handler in usual.items()}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def draw_clips(scratch: Path, clips: int) -> Path:
    """Binary masks (0, 255) of moving, dented blobs."""
    import numpy as np
    from PIL import Image

    y, x = np.mgrid[:HEIGHT, :WIDTH]
    for clip in range(clips):
        folder = scratch / "annotations" / f"clip{clip}"
        folder.mkdir(parents=True)
        for t in range(FRAMES):
            dx, dy = x - 200 - 7 * t, y - 240 - 40 * np.sin(t / 8 + clip)
            radius = 90 + 10 * clip + 25 * np.sin(5 * np.arctan2(dy, dx) + t / 4)
            Image.fromarray(np.where(np.hypot(dx, dy) < radius, 255, 0).astype(np.uint8)).save(folder / f"{t:05}.png")
    return scratch / "annotations"


def disturb(source: Path, target: Path) -> int:
    """Write the masks of one video moved and thinned; returns their number."""
    import numpy as np
    from PIL import Image, ImageFilter

    target.mkdir(parents=True)
    files = sorted(source.glob("*.png"))
    for i, file in enumerate(files):
        with Image.open(file) as image:
            palette = image.getpalette()
            thinned = Image.fromarray(np.asarray(image, np.uint8)).filter(ImageFilter.MinFilter(3 + 2 * (i % 3)))
        moved = Image.fromarray(np.roll(np.asarray(thinned), (i % 5 - 2, i % 7 - 3), (0, 1)))
        if palette:
            moved.putpalette(palette)
        moved.save(target / file.name)
    return len(files)


if __name__ == "__main__":
    sys.exit(main())
