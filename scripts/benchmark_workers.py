"""Throughput of two workers with half the cores each against one process that uses them all, in one run.

    python scripts/benchmark_workers.py [video_dir=FOLDER] [weights=auto] [workers=2] [rounds=3] [size=240]

video_dir: what eval.py takes, with several videos; without it copies of examples/clip. Both run the same command, in
turns; nothing is said where their masks are not those of the same network. Two ratios: of the whole command (with
imports and loading), and of the work alone, from the first video's begin to the last one's end.
"""

import json
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from xmem_infer.cli import leave, run
from xmem_infer.config import DataConfig, require
from xmem_infer.datasets.discovery import find_videos
from xmem_infer.errors import UsageError
from xmem_infer.interrupts import check
from xmem_infer.scoring.parallel import usable_cores

ROOT = Path(__file__).resolve().parents[1]
MAX_DIFFERING = 1e-3  # share of pixels: torch adds up in another order with another number of threads


@dataclass
class WorkersBenchmark:
    video_dir: str | None = None
    clips: int = 4  # copies of the example clip
    weights: str = "auto"
    workers: int = 2
    rounds: int = 3
    size: int = 240  # px of the short side

    def __post_init__(self) -> None:
        require(self.workers >= 2, "workers", self.workers, "at least 2: they are compared with one process")
        require(self.rounds >= 1, "rounds", self.rounds, "at least 1")
        require(self.video_dir is not None or self.clips >= self.workers, "clips", self.clips, "at least workers")


def main() -> None:
    """0: measured; 1: the masks differ; 2: wrong request; else the exit code of the run that failed."""
    leave(run("benchmark_workers", WorkersBenchmark, benchmark))


def benchmark(config: WorkersBenchmark) -> int:
    with tempfile.TemporaryDirectory() as scratch:
        return measure(config, Path(scratch))


def measure(config: WorkersBenchmark, scratch: Path) -> int:
    """Print every round and the ratios of the medians."""
    videos = config.video_dir or str(copy_example(scratch / "set", config.clips))
    if (found := len(find_videos(videos, None, DataConfig()))) < config.workers:
        raise UsageError(f"video_dir={videos} means {found} video(s), fewer than workers={config.workers}: give more")
    cores = usable_cores()
    outs = {workers: scratch / f"out{workers}" for workers in (1, config.workers)}
    times: dict[int, list[tuple[float, float]]] = {workers: [] for workers in outs}
    print("round  workers   command      work   frames/s of work")
    for turn in range(config.rounds):
        for workers in outs if turn % 2 == 0 else reversed(outs):
            shutil.rmtree(outs[workers], ignore_errors=True)
            started = time.perf_counter()
            if code := run_eval(config, videos, outs[workers], workers, cores):
                return code
            whole = time.perf_counter() - started
            work, frames = work_of(outs[workers])
            times[workers].append((whole, work))
            print(f"{turn + 1:5} {workers:8} {whole:8.2f}s {work:8.2f}s {frames / work:18.2f}", flush=True)
        share = differing_share(*outs.values())
        if share > MAX_DIFFERING:
            print(f"masks differ in {share:.3%} of the pixels", file=sys.stderr)
            return 1
    one, many = ([statistics.median(column) for column in zip(*times[key], strict=True)] for key in outs)
    print(f"{config.workers} workers against one process, {cores} cores, {frames} frames, medians of {config.rounds}:")
    print(f"throughput of the command x {one[0] / many[0]:.2f}, of the work alone x {one[1] / many[1]:.2f}")
    print(f"masks are the same but for {share:.5%} of the pixels" if share else "masks are the same")
    return 0


def run_eval(config: WorkersBenchmark, videos: str, out: Path, workers: int, cores: int) -> int:
    """Segment all videos without pictures and scores; the exit code, after what it said where it is not 0."""
    overrides = [f"video_dir={videos}", f"output_dir={out}", f"weights={config.weights}", f"workers={workers}"]
    overrides += [f"data.size={config.size}", "output.overlay=false", "output.preview=false", "score=false"]
    if workers == 1:
        overrides.append(f"runtime.threads={cores}")  # several share the cores out by themselves
    command = [sys.executable, str(ROOT / "scripts" / "eval.py"), *overrides]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    check()
    if done.returncode:
        print(done.stderr, file=sys.stderr)
    return done.returncode


def copy_example(root: Path, clips: int) -> Path:
    """A set of `clips` copies of the example clip."""
    example = ROOT / "examples" / "clip"
    for clip in range(clips):
        for folder in ("JPEGImages", "Annotations"):
            shutil.copytree(example / folder / "scene", root / folder / f"scene{clip}")
    return root


def work_of(output_dir: Path) -> tuple[float, int]:
    """Seconds from the first begin to the last end of a video, and all frames. A record is a video's last act."""
    entries = json.loads((output_dir / "run.json").read_text())["videos"]
    ends = {name: (output_dir / "records" / f"{name}.json").stat().st_mtime for name in entries}
    begins = [ends[name] - entry["seconds"] for name, entry in entries.items()]
    return max(ends.values()) - min(begins), sum(entry["frames"] for entry in entries.values())


def differing_share(one: Path, other: Path) -> float:
    """Share of the pixels whose labels differ between two outputs; 1 where they do not hold the same masks."""
    names, others = ({str(path.relative_to(out)) for path in out.glob("masks/**/*.png")} for out in (one, other))
    if names != others:
        return 1.0
    shares = [np.mean(read(one / name) != read(other / name)) for name in names]
    return float(np.mean(shares))


def read(path: Path) -> np.ndarray:
    with Image.open(path) as mask:
        return np.asarray(mask)


if __name__ == "__main__":
    main()
