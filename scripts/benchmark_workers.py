"""Compare the throughput of several workers with that of one process that uses all cores. Settings: --help.

    python scripts/benchmark_workers.py video_dir=FOLDER [weights=auto] [workers=2] [rounds=3] [size=240]

video_dir: several videos, in any form that eval.py accepts. The time of the whole command counts, with imports and
loading.
"""

from xmem_infer.cli.commands import exit_with, run
from xmem_infer.lab.benchmark.config import WorkersConfig

if __name__ == "__main__":
    exit_with(run("benchmark_workers", WorkersConfig, "lab.benchmark.workers.benchmark_workers"))
