"""Throughput of two workers with half the cores each against one process that uses them all, in one run.

    python scripts/benchmark_workers.py [video_dir=FOLDER] [weights=auto] [workers=2] [rounds=3] [size=240]

video_dir: what eval.py takes, with several videos; without it copies of examples/clip. Both run the same command, in
turns; their masks must agree or nothing is said. Two ratios: of the whole command (with imports and loading), and of
the work alone, from the first video's begin to the last one's end.
"""

import filecmp
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


@dataclass
class BenchmarkConfig:
    video_dir: str | None = None
    weights: str = "auto"
    workers: int = 2
    rounds: int = 3
    size: int = 240  # px of the short side
    clips: int = 4  # copies of the example clip


def main() -> int:
    """0: measured; 1: a run failed or the masks differ; 2: wrong request."""
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    try:
        merged = OmegaConf.merge(OmegaConf.structured(BenchmarkConfig), OmegaConf.from_cli())
        config = OmegaConf.to_object(merged)
    except OmegaConfBaseException as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    with tempfile.TemporaryDirectory() as scratch:
        return measure(config, Path(scratch))


def measure(config: BenchmarkConfig, scratch: Path) -> int:
    """Print every round and the ratios of the medians."""
    videos = config.video_dir or str(copy_example(scratch / "set", config.clips))
    times: dict[int, list[tuple[float, float]]] = {1: [], config.workers: []}
    print("round  workers   command      work   frames/s of work")
    for turn in range(config.rounds):
        for workers in (1, config.workers) if turn % 2 == 0 else (config.workers, 1):
            out = scratch / f"out{workers}"
            shutil.rmtree(out, ignore_errors=True)
            started = time.perf_counter()
            overrides = [f"video_dir={videos}", f"output_dir={out}", f"weights={config.weights}"]
            command = [sys.executable, str(ROOT / "scripts" / "eval.py"), *overrides]
            command += [
                f"workers={workers}",
                f"data.size={config.size}",
                "output.overlay=false",
                "output.preview=false",
            ]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if done.returncode:
                print(done.stderr, file=sys.stderr)
                return 1
            whole = time.perf_counter() - started
            work, frames = work_of(out)
            times[workers].append((whole, work))
            print(f"{turn + 1:5} {workers:8} {whole:8.2f}s {work:8.2f}s {frames / work:18.2f}")
        if differing := differing_masks(scratch / "out1", scratch / f"out{config.workers}"):
            print(f"masks differ: {len(differing)}, the first {differing[0]}", file=sys.stderr)
            return 1
    one, many = ([statistics.median(column) for column in zip(*times[key], strict=True)] for key in times)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    print(f"{config.workers} workers against one process, {cores} cores, {frames} frames, medians of {config.rounds}:")
    print(f"throughput of the command x {one[0] / many[0]:.2f}, of the work alone x {one[1] / many[1]:.2f}")
    return 0


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


def differing_masks(one: Path, other: Path) -> list[str]:
    """Names of masks that are not the same in both."""
    names = [str(path.relative_to(one)) for path in (one / "masks").rglob("*.png")]
    _, differing, missing = filecmp.cmpfiles(one, other, names, shallow=False)
    return differing + missing


if __name__ == "__main__":
    sys.exit(main())
