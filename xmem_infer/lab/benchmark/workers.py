"""Throughput of several worker processes that share the cores, against one process that uses all of them."""

import json
import logging
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from ...config import DataConfig
from ...datasets.discovery import find_videos
from ...errors import UsageError
from ...interrupts import check
from ...runtime.cores import usable_cores
from ...scoring.pairing import read_ids
from .config import WorkersConfig

ROOT = Path(__file__).resolve().parents[3]
MAX_DIFFERING = 1e-3  # share of pixels; not 0, because the order of torch's sums depends on the number of threads
log = logging.getLogger(__name__)
tables = logging.getLogger("xmem_infer.tables")  # goes to standard output


def benchmark_workers(config: WorkersConfig) -> int:
    """Run `scripts/eval.py` alternately with one and with several workers; print all rounds and the ratios of medians.

    Returns:
        0; 1 if the masks differ; otherwise the exit code of the run that failed.

    Raises:
        UsageError: There are fewer videos than workers.
    """
    with tempfile.TemporaryDirectory() as scratch:
        return _measure(config, Path(scratch))


def _measure(config: WorkersConfig, scratch: Path) -> int:
    videos = config.video_dir or str(_copy_example(scratch / "set", config.clips))
    if (found := len(find_videos(videos, None, DataConfig()))) < config.workers:
        raise UsageError(f"video_dir={videos} means {found} video(s), fewer than workers={config.workers}: give more")
    outs = {workers: scratch / f"out{workers}" for workers in (1, config.workers)}
    times: dict[int, list[tuple[float, float]]] = {workers: [] for workers in outs}
    tables.info("round  workers   command      work   frames/s of work")
    for number in range(config.rounds):
        for workers in outs if number % 2 == 0 else reversed(outs):
            shutil.rmtree(outs[workers], ignore_errors=True)
            started = time.perf_counter()
            if code := _run_eval(config, videos, outs[workers], workers):
                return code
            command = time.perf_counter() - started
            work, frames = _work_seconds_and_frames(outs[workers])
            times[workers].append((command, work))
            tables.info(f"{number + 1:5} {workers:8} {command:8.2f}s {work:8.2f}s {frames / work:18.2f}")
        share = differing_share(*outs.values())
        if share > MAX_DIFFERING:
            log.error("masks differ in %.3f%% of the pixels", 100 * share)
            return 1
    one, many = ([statistics.median(column) for column in zip(*times[key], strict=True)] for key in outs)
    setting = f"{usable_cores()} cores, {frames} frames, medians of {config.rounds}"
    tables.info(f"{config.workers} workers against one process, {setting}:")
    tables.info(f"throughput of the command x {one[0] / many[0]:.2f}, of the work alone x {one[1] / many[1]:.2f}")
    tables.info(f"masks are the same but for {share:.5%} of the pixels" if share else "masks are the same")
    return 0


def _run_eval(config: WorkersConfig, videos: str, out: Path, workers: int) -> int:
    """Segment all videos without pictures and scores. Return the exit code; if it is not 0, log the standard error."""
    overrides = [f"video_dir={videos}", f"output_dir={out}", f"weights={config.weights}", f"workers={workers}"]
    overrides += [f"data.size={config.size}", "output.overlay=false", "output.preview=false", "score=false"]
    if workers == 1:
        overrides.append(f"runtime.threads={usable_cores()}")  # several workers divide the cores among themselves
    command = [sys.executable, str(ROOT / "scripts" / "eval.py"), *overrides]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    check()
    if done.returncode:
        log.error(done.stderr)
    return done.returncode


def _copy_example(root: Path, clips: int) -> Path:
    """Create a folder with `clips` copies of the example clip."""
    for clip in range(clips):
        for folder in ("JPEGImages", "Annotations"):
            shutil.copytree(ROOT / "examples" / "clip" / folder / "scene", root / folder / f"scene{clip}")
    return root


def _work_seconds_and_frames(output_dir: Path) -> tuple[float, int]:
    """Return the seconds from the start of the first video to the end of the last one, and the total number of frames.

    The end of a video is when its record was written, the last thing a worker does for it.
    """
    entries = json.loads((output_dir / "run.json").read_text())["videos"]
    ends = {name: (output_dir / "records" / f"{name}.json").stat().st_mtime for name in entries}
    starts = [ends[name] - entry["seconds"] for name, entry in entries.items()]
    return max(ends.values()) - min(starts), sum(entry["frames"] for entry in entries.values())


def differing_share(one: Path, other: Path) -> float:
    """Return the share of pixels whose object differs between two outputs, or 1 if they consist of different files."""
    names, others = ({str(path.relative_to(out)) for path in out.glob("masks/**/*.png")} for out in (one, other))
    if names != others:
        return 1.0
    return float(np.mean([np.mean(read_ids(one / name) != read_ids(other / name)) for name in sorted(names)]))
