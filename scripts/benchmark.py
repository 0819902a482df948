"""Benchmark this project's variants against the published formulation, interleaved in one run. Settings: --help."""

from xmem_infer.cli.commands import exit_with, run
from xmem_infer.lab.benchmark.config import BenchmarkConfig

if __name__ == "__main__":
    exit_with(run("benchmark", BenchmarkConfig, "lab.benchmark.run.benchmark"))
