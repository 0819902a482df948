"""Throughput of several workers against one process that uses all cores. Settings: --help.

    python scripts/benchmark_workers.py [video_dir=FOLDER] [weights=auto] [workers=2] [rounds=3] [size=240]

video_dir: what eval.py takes, with several videos; without it copies of examples/clip. Prints two ratios: of the whole
command (with imports and loading), and of the work alone, from the first video's begin to the last one's end.
"""

from xmem_infer.cli.commands import exit_with, run
from xmem_infer.lab.benchmark.config import WorkersConfig

if __name__ == "__main__":
    exit_with(run("benchmark_workers", WorkersConfig, "lab.benchmark.workers.benchmark_workers"))
