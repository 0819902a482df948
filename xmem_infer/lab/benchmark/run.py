"""The command `scripts/benchmark.py`: check the settings, measure, write the report."""

import logging
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path

import torch
from tqdm import tqdm

from ...interrupts import check
from ...runtime.contexts import thread_count
from ...runtime.limits import check_threads
from ..charts import new_figure
from ..report import output_folder, setting
from .config import BenchmarkConfig
from .end_to_end import measure_end_to_end
from .interleaved import Progress, measure
from .networks import load_benchmark_network
from .peak_memory import measure_peak
from .report import Results, console_summary, redraw, write_report
from .variants import Variant, check_variants, default_variants, make_variant
from .workloads import Workload, parse_workload

CPU = torch.device("cpu")
tables = logging.getLogger("xmem_infer.tables")  # goes to standard output


def benchmark(config: BenchmarkConfig) -> int:
    """Measure what `config` asks for and write the report.

    Returns:
        0, or 1 if a process that measured peak memory did not finish.

    Raises:
        UsageError: Before any measurement: a workload or variant does not exist.
        WeightsError: Before any measurement: the weights cannot be used.
        EnvironmentFault: matplotlib is missing, or the output folder cannot be written to.
    """
    new_figure(1, 1)  # fails without matplotlib: better now than after the measurements
    if config.redraw is not None:
        redraw(config, Path(config.redraw).expanduser())
        return 0
    config.variants = list(dict.fromkeys(config.variants or default_variants()))
    check_variants(config.variants, "variants")
    check_variants(config.curve.variants, "curve.variants")
    check_variants([config.end_to_end.variant], "end_to_end.variant", baselines=False)
    plan = workload_plan(config)
    check_threads(config.runtime.threads)
    folder = output_folder(config.output_dir or "output/benchmark")
    with thread_count(config.runtime.threads):
        weights = config.weights or "published sizes, random numbers (seed 0)"
        results = Results(config, setting(CPU, {"weights": weights, "rounds": config.rounds}))
        parts = _parts(plan, results)
        with tqdm(total=len(parts), desc="benchmark", disable=None) as bar:

            def progress(description: str) -> None:
                check()
                bar.set_postfix_str(description)

            for number, measure_part in enumerate(parts.values(), 1):
                measure_part(progress)
                bar.update()
                results.missing = list(parts)[number:]
                write_report(results, folder)  # after each part, so that stopping a run of hours loses only one part
    for text in console_summary(results):
        tables.info(text)
    tables.info("report in %s", folder / "report.md")
    return 0 if all(peak["result"] == "ok" for peak in results.peaks) else 1


def workload_plan(config: BenchmarkConfig) -> dict[Workload, list[str]]:
    """Return the variants to measure by workload: the requested ones, and the curves' variants on their workloads."""
    plan = {parse_workload(name): list(config.variants or default_variants()) for name in config.workloads}
    for workload in config.curve.workloads() if config.curves else []:
        known = plan.setdefault(workload, [])
        known += [name for name in dict.fromkeys(config.curve.variants) if name not in known]
    return plan


def _parts(plan: dict[Workload, list[str]], results: Results) -> dict[str, Callable[[Progress], None]]:
    """Return, by name and in order, functions that each measure one part and add it to `results`.

    All networks are loaded here, before any measurement.
    """
    config = results.config
    clips = [parse_workload(name) for name in config.end_to_end.workloads]
    names = dict.fromkeys(workload.network for workload in [*plan, *clips])
    networks = {name: load_benchmark_network(name, config.weights) for name in names}

    @cache
    def variant(name: str, network: str) -> Variant:
        results.active[name] = (built := make_variant(name, networks[network], CPU)).prepared.active
        return built

    def times(workload: Workload, names: list[str], progress: Progress) -> None:
        variants = [variant(name, workload.network) for name in names]
        results.rows.extend(measure(workload, variants, config.rounds, progress))

    def peaks(workload: str, progress: Progress) -> None:
        for name in config.variants or ():
            progress(f"{workload}: peak memory of {name}")
            results.peaks.append(measure_peak(workload, name, config.weights, config.runtime.threads))

    def end_to_end(workload: Workload, progress: Progress) -> None:
        options, network = config.end_to_end, networks[workload.network]
        times = measure_end_to_end(network, workload, options.variant, options.frames, config.rounds, progress)
        results.end_to_end.append(times)

    return {
        **{workload.name: partial(times, workload, names) for workload, names in plan.items()},
        **{f"peak memory of {name}": partial(peaks, name) for name in config.peak_memory},
        **{f"{workload.name} end to end": partial(end_to_end, workload) for workload in clips},
    }
