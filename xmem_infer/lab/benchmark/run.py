"""The command `scripts/benchmark.py`: check the settings, measure, write the report."""

import logging
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path

from tqdm import tqdm

from ...interrupts import check
from ...runtime.contexts import thread_count
from ...runtime.limits import check_threads
from ..charts import new_figure
from ..report import output_folder, setting
from .config import BenchmarkConfig
from .end_to_end import measure_end_to_end
from .interleaved import Progress, measure
from .peak_memory import measure_peak
from .report import Results, redraw, write_report
from .variants import CPU, Variant, check_variants, default_variants, make_variant
from .workloads import Workload, load_benchmark_network, parse_workload

tables = logging.getLogger("xmem_infer.tables")  # goes to standard output


def benchmark(config: BenchmarkConfig) -> int:
    """Measure what `config` asks for, write the report and print its page.

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
    variants = list(dict.fromkeys(config.variants or default_variants()))
    check_variants(variants, "variants")
    check_variants([config.end_to_end.variant], "end_to_end.variant", baselines=False)
    check_threads(config.runtime.threads)
    folder = output_folder(config.output_dir or "output/benchmark")
    with thread_count(config.runtime.threads):
        weights = config.weights or "published sizes, random numbers (seed 0)"
        results = Results(config, setting(CPU, {"weights": weights, "rounds": config.rounds}))
        parts = _parts(variants, results)
        with tqdm(total=len(parts), desc="benchmark", disable=None) as bar:

            def progress(description: str) -> None:
                check()
                bar.set_postfix_str(description)

            for number, measure_part in enumerate(parts.values(), 1):
                measure_part(progress)
                bar.update()
                results.missing = list(parts)[number:]
                page = write_report(results, folder)  # after each part, so that stopping a run loses only one part
    tables.info(page.read_text(encoding="utf-8"))
    tables.info("report in %s", page)
    return 0 if all(peak["result"] == "ok" for peak in results.peaks) else 1


def _parts(variants: list[str], results: Results) -> dict[str, Callable[[Progress], None]]:
    """Return, by name and in order, functions that each measure one part and add it to `results`.

    All networks are loaded here, before any measurement.
    """
    config = results.config
    workloads, clips = ([parse_workload(name) for name in c.workloads] for c in (config, config.end_to_end))
    names = dict.fromkeys(workload.network for workload in workloads + clips)
    networks = {name: load_benchmark_network(name, config.weights) for name in names}

    @cache
    def variant(name: str, network: str) -> Variant:
        results.active[name] = (built := make_variant(name, networks[network])).prepared.active
        return built

    def times(workload: Workload, progress: Progress) -> None:
        prepared = [variant(name, workload.network) for name in variants]
        results.rows.extend(measure(workload, prepared, config.rounds, progress))

    def peaks(workload: str, progress: Progress) -> None:
        for name in variants:
            progress(f"{workload}: peak memory of {name}")
            results.peaks.append(measure_peak(workload, name, config.weights, config.runtime.threads))

    def end_to_end(workload: Workload, progress: Progress) -> None:
        network, name = networks[workload.network], config.end_to_end.variant
        results.end_to_end.append(measure_end_to_end(network, workload, name, config.rounds, progress))

    return {
        **{workload.name: partial(times, workload) for workload in workloads},
        **{f"peak memory of {name}": partial(peaks, name) for name in config.peak_memory},
        **{f"{workload.name} end to end": partial(end_to_end, workload) for workload in clips},
    }
