"""Variants of this project against the published formulation, interleaved in one run. See configs/benchmark.yaml."""

from xmem_infer.cli import leave, run
from xmem_infer.lab.benchmark.config import BenchmarkConfig


def main() -> None:
    leave(run("benchmark", BenchmarkConfig, _benchmark))


def _benchmark(config: BenchmarkConfig) -> int:
    from xmem_infer.lab.benchmark.run import benchmark  # torch takes seconds; a typo should not wait for it

    return benchmark(config)


if __name__ == "__main__":
    main()
