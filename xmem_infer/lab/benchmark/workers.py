"""Throughput of several worker processes that share the cores, against one process that uses all of them."""

import logging
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from ...config import DataConfig
from ...datasets.discovery import find_videos
from ...errors import UsageError
from ...interrupts import check
from ...runtime.cores import usable_cores
from .config import WorkersConfig

EVAL = Path(__file__).resolve().parents[3] / "scripts" / "eval.py"
log = logging.getLogger(__name__)
tables = logging.getLogger("xmem_infer.tables")  # goes to standard output


def benchmark_workers(config: WorkersConfig) -> int:
    """Run `scripts/eval.py` alternately with one and with several workers; print all rounds and the ratio of medians.

    Returns:
        0, or the exit code of the run that failed.

    Raises:
        UsageError: There are fewer videos than workers.
    """
    if (found := len(find_videos(config.video_dir, None, DataConfig()))) < config.workers:
        raise UsageError(
            f"video_dir={config.video_dir} means {found} video(s), fewer than workers={config.workers}: give more"
        )
    seconds: dict[int, list[float]] = {1: [], config.workers: []}
    tables.info("round  workers   seconds")
    with tempfile.TemporaryDirectory() as scratch:
        out = Path(scratch, "out")
        for number in range(config.rounds):
            for workers in seconds if number % 2 == 0 else reversed(seconds):
                started = time.perf_counter()
                if code := _run_eval(config, out, workers):
                    return code
                seconds[workers].append(time.perf_counter() - started)
                shutil.rmtree(out)
                tables.info(f"{number + 1:5} {workers:8} {seconds[workers][-1]:9.2f}")
    one, many = map(statistics.median, seconds.values())
    tables.info(f"{config.workers} workers against one process, {usable_cores()} cores, medians of {config.rounds}:")
    tables.info(f"throughput of the command x {one / many:.2f}")
    return 0


def _run_eval(config: WorkersConfig, out: Path, workers: int) -> int:
    """Segment all videos without pictures and scores. Return the exit code; if it is not 0, log the standard error."""
    overrides = [f"video_dir={config.video_dir}", f"output_dir={out}", f"weights={config.weights}"]
    overrides += [f"workers={workers}", f"data.size={config.size}"]
    overrides += ["output.overlay=false", "output.preview=false", "score=false"]
    if workers == 1:
        overrides.append(f"runtime.threads={usable_cores()}")  # several workers divide the cores among themselves
    done = subprocess.run([sys.executable, str(EVAL), *overrides], capture_output=True, text=True, check=False)
    check()
    if done.returncode:
        log.error(done.stderr)
    return done.returncode
