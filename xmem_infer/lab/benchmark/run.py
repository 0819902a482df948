"""What `scripts/benchmark.py` does: check, measure, report."""

import logging
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path

import torch
from tqdm import tqdm

from ...interrupts import check
from ...runtime.limits import check_threads, thread_count
from ..charts import new_figure
from ..report import output_folder, setting
from .config import BenchmarkConfig
from .end_to_end import measure_end_to_end
from .interleaved import Step, measure
from .networks import load_benchmark_network
from .peak_memory import PeakRequest, measure_peak
from .report import Results, console_summary, redraw, write_report
from .variants import Variant, check_variants, default_variants, make_variant
from .workloads import Workload, parse_workload

CPU = torch.device("cpu")
tables = logging.getLogger("xmem_infer.tables")  # what belongs on standard output


def benchmark(config: BenchmarkConfig) -> int:
    """Measure what `config` asks for and write the report.

    Returns:
        0, or 1 where a process that measured memory failed.

    Raises:
        UsageError: Before any work: a workload or a variant that does not exist.
        WeightsError: Before any work: weights that cannot be used.
        EnvironmentFault: No matplotlib, or a folder that cannot be written to.
    """
    new_figure(1, 1)  # without matplotlib the report cannot be made: said now, not afterwards
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

            def step(description: str) -> None:
                check()
                bar.set_postfix_str(description)

            for number, measure_part in enumerate(parts.values(), 1):
                measure_part(step)
                bar.update()
                results.missing = list(parts)[number:]
                write_report(results, folder)  # after each: hours of it must not be lost with the last minute
    for text in console_summary(results):
        tables.info(text)
    tables.info("report in %s", folder / "report.md")
    return 0 if all(peak["result"] == "ok" for peak in results.peaks) else 1


def workload_plan(config: BenchmarkConfig) -> dict[Workload, list[str]]:
    """The variants to measure for each workload: those asked for, and on workloads of the curves alone theirs."""
    plan = {parse_workload(name): list(config.variants or default_variants()) for name in config.workloads}
    for workload in config.curve.workloads() if config.curves else []:
        known = plan.setdefault(workload, [])
        known += [name for name in dict.fromkeys(config.curve.variants) if name not in known]
    return plan


def _parts(plan: dict[Workload, list[str]], results: Results) -> dict[str, Callable[[Step], None]]:
    """What there is to measure, in order, by name; each adds to `results`. Networks are loaded before any work."""
    config = results.config
    clips = [parse_workload(name) for name in config.end_to_end.workloads]
    named = {workload.network: workload for workload in [*plan, *clips]}
    networks = {name: load_benchmark_network(name, config.weights) for name in named}

    @cache
    def variant(name: str, network: str) -> Variant:
        made = make_variant(name, networks[network], CPU)
        results.active[name] = made.prepared.active
        return made

    def times(workload: Workload, names: list[str], step: Step) -> None:
        variants = [variant(name, workload.network) for name in names]
        results.rows.extend(measure(workload, variants, config.rounds, step))

    def peaks(workload: str, step: Step) -> None:
        for name in config.variants or ():
            step(f"{workload}: peak memory of {name}")
            request = PeakRequest(workload, name, config.weights)
            results.peaks.append(measure_peak(request, config.runtime.threads))

    def end_to_end(workload: Workload, step: Step) -> None:
        wanted, network = config.end_to_end, networks[workload.network]
        found = measure_end_to_end(network, workload, wanted.variant, wanted.frames, config.rounds, step)
        results.end_to_end.append(found)

    return {
        **{workload.name: partial(times, workload, names) for workload, names in plan.items()},
        **{f"peak memory of {name}": partial(peaks, name) for name in config.peak_memory},
        **{f"{workload.name} end to end": partial(end_to_end, workload) for workload in clips},
    }
