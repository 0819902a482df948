"""What `scripts/benchmark.py` does: check, measure, report."""

import logging
import platform
import re
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn
from tqdm import tqdm

from ...evaluate.provenance import machine
from ...interrupts import check
from ...io.versions import versions
from ...runtime.limits import thread_count
from ..charts import new_figure
from ..report import output_folder
from .config import BenchmarkConfig
from .curves import workloads_of
from .end_to_end import measure_end_to_end
from .interleaved import Step, measure
from .peak_memory import PeakRequest, measure_peak
from .report import Results, by_workload, end_to_end_table, redraw, times_table, write_report
from .variants import Variant, check_variants, default_variants, load_benchmark_network, make_variant
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
    folder = output_folder(config.output_dir, "output/benchmark")
    with thread_count(config.runtime.threads):
        variants = PreparedVariants(config, {workload.tiny for workload in [*plan, *_end_to_end(config)]})
        results = Results(config, _context(config), variants.active)
        parts = _parts(config, plan, variants, results)
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
    return 0 if all(peak.status == "ok" for peak in results.peaks) else 1


class PreparedVariants:
    """The networks of a run, loaded before any work, and the variants made from them, each once.

    Attributes:
        networks: The embedded model under True, the one of `weights` under False.
        active: By name, what makes a variant fast, in words: the same for both networks.
    """

    def __init__(self, config: BenchmarkConfig, kinds: set[bool]):
        self.networks: dict[bool, nn.Module] = {
            tiny: load_benchmark_network(tiny, config.weights, config.network) for tiny in sorted(kinds)
        }
        self.active: dict[str, Sequence[str]] = {}
        self._prepared: dict[tuple[str, bool], Variant] = {}

    def get(self, name: str, tiny: bool) -> Variant:
        """Prepared when first asked for."""
        if (name, tiny) not in self._prepared:
            self._prepared[name, tiny] = make_variant(name, self.networks[tiny], CPU)
            self.active[name] = self._prepared[name, tiny].prepared.active
        return self._prepared[name, tiny]


def workload_plan(config: BenchmarkConfig) -> dict[Workload, list[str]]:
    """The variants to measure for each workload: those asked for, and on workloads of the curves alone theirs."""
    plan = {parse_workload(name): list(config.variants or default_variants()) for name in config.workloads}
    for workload in workloads_of(config.curve) if config.curves else []:
        known = plan.setdefault(workload, [])
        known += [name for name in dict.fromkeys(config.curve.variants) if name not in known]
    return plan


def console_summary(results: Results) -> list[str]:
    """The tables of times, for the terminal."""
    context = {**results.context["machine"], **results.context["subject"]}
    lines = [*(f"{key}: {value}" for key, value in context.items()), f"torch {torch.__version__}"]
    lines += [f"{name}: {'; '.join(active)}" for name, active in results.active.items()]
    for title, rows in by_workload(results).items():
        lines += ["", title, times_table(rows)]
    return [*lines, "", end_to_end_table(results)] if results.end_to_end else lines


def cpu_model() -> str:
    """The processor's name, as far as the system tells."""
    with suppress(OSError):
        found = re.search(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
        if found:
            return found[1]
    return platform.processor() or platform.machine()


def _context(config: BenchmarkConfig) -> dict[str, Any]:
    weights = config.weights or "published sizes, random numbers (seed 0)"
    return {
        "machine": {"cpu": cpu_model(), **machine(CPU)},
        "versions": versions(),
        "subject": {"weights": weights, "rounds": config.rounds},
    }


def _parts(
    config: BenchmarkConfig, plan: dict[Workload, list[str]], variants: PreparedVariants, results: Results
) -> dict[str, Callable[[Step], None]]:
    """What there is to measure, in order, by name; each adds to `results`."""

    def times(workload: Workload, names: list[str], step: Step) -> None:
        prepared = [variants.get(name, workload.tiny) for name in names]
        results.rows.extend(measure(workload, prepared, config.rounds, step))

    def peaks(workload: str, step: Step) -> None:
        for name in config.variants or ():
            step(f"{workload}: peak memory of {name}")
            request = PeakRequest(workload, name, config.weights, config.network, config.runtime.threads)
            results.peaks.append(measure_peak(request))

    def end_to_end(workload: Workload, step: Step) -> None:
        wanted, network = config.end_to_end, variants.networks[workload.tiny]
        found = measure_end_to_end(network, workload, wanted.variant, wanted.frames, config.rounds, step)
        results.end_to_end.append(found)

    return {
        **{workload.name: partial(times, workload, names) for workload, names in plan.items()},
        **{f"peak memory of {name}": partial(peaks, name) for name in config.peak_memory},
        **{f"{workload.name} end to end": partial(end_to_end, workload) for workload in _end_to_end(config)},
    }


def _end_to_end(config: BenchmarkConfig) -> list[Workload]:
    return [parse_workload(name) for name in config.end_to_end.workloads]
