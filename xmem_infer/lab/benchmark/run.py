"""What `scripts/benchmark.py` does: check, measure, report."""

import platform
import re
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from ...evaluate.provenance import machine
from ...interrupts import check
from ...io.atomic import disk_fault
from ...io.versions import versions
from ...model.network import XMem
from ...runtime.limits import thread_count
from ..charts import new_figure
from ..report import table
from .config import BenchmarkConfig
from .contenders import Contender, make_contender
from .curves import workloads_of
from .end_to_end import WAYS, measure_end_to_end
from .findings import Findings
from .networks import network_for
from .peak_memory import measure_peak
from .plots import draw_curves, draw_times
from .report import end_to_end_table, times_table, write_report, write_results
from .rounds import Step, measure, steps_of
from .workloads import Workload, parse_workload

Say = Callable[[str], None]
CPU = torch.device("cpu")


def benchmark(config: BenchmarkConfig, say: Say = lambda line: None) -> int:
    """Measure what `config` asks for and write the report; 0, or 1 where a process that measured memory failed.

    Raises UsageError and WeightsError before any work.
    """
    new_figure(1, 1)  # without matplotlib the report cannot be made: said now, not afterwards
    plan = workload_plan(config)
    folder = output_folder(config)
    with thread_count(config.runtime.threads), tqdm(total=_total(config, plan), desc="benchmark", disable=None) as bar:
        networks = Networks(config.weights, {workload.tiny for workload in plan} | _tiny_end_to_end(config))

        def step(words: str) -> None:
            bar.set_postfix_str(words)
            bar.update()

        findings = Findings(config, _context(config), networks.active, [], [], [])
        pieces = _pieces(config, plan, networks, findings, step)
        for number, measure_piece in enumerate(pieces.values(), 1):
            measure_piece()
            findings = replace(findings, missing=list(pieces)[number:])
            publish(findings, folder)
    for text in console_summary(findings):
        say(text)
    say(f"report in {folder / 'report.md'}")
    return 0 if all(peak.status == "ok" for peak in findings.peaks) else 1


def publish(findings: Findings, folder: Path) -> None:
    """The report of what was measured so far: hours of it must not be lost with the last minute."""
    write_results(findings, folder)
    draw_times(findings, folder)
    for old in folder.glob("curves.*"):  # of an earlier run
        old.unlink()
    if findings.has_curves():
        draw_curves(findings, folder)
    write_report(findings, folder)


class Networks:
    """The networks of a run, loaded before any work, and the contenders made from them, each once."""

    def __init__(self, weights: str | None, kinds: set[bool]):
        self.networks: dict[bool, XMem] = {tiny: network_for(tiny, weights) for tiny in sorted(kinds)}
        self._contenders: dict[tuple[str, bool], Contender] = {}
        self.active: dict[str, Sequence[str]] = {}  # what each contender does, in words: the same for every network

    def contender(self, name: str, tiny: bool) -> Contender:
        """Prepared when first asked for."""
        if (name, tiny) not in self._contenders:
            self._contenders[name, tiny] = make_contender(name, self.networks[tiny], CPU)
            self.active[name] = self._contenders[name, tiny].active
        return self._contenders[name, tiny]


def workload_plan(config: BenchmarkConfig) -> dict[Workload, list[str]]:
    """The variants to measure for each workload: those asked for, and on workloads of the curves alone theirs."""
    plan = {parse_workload(name): list(dict.fromkeys(config.variants)) for name in config.workloads}
    for workload in workloads_of(config.curve) if config.curves else []:
        known = plan.setdefault(workload, [])
        known += [name for name in dict.fromkeys(config.curve.variants) if name not in known]
    return plan


def console_summary(findings: Findings) -> list[str]:
    """The tables of times, for the terminal."""
    said = [f"{key}: {value}" for key, value in {**findings.context["machine"], **findings.context["subject"]}.items()]
    said += [f"torch {torch.__version__}"]
    said += [f"{name}: {'; '.join(words)}" for name, words in findings.active.items()]
    for workload in findings.asked_for():
        said += ["", f"{workload.name}: {workload.words}", table(*times_table(findings, workload))]
    if findings.end_to_end:
        said += ["", table(*end_to_end_table(findings))]
    return said


def cpu_model() -> str:
    """The processor's name, as far as the system tells."""
    with suppress(OSError):
        found = re.search(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
        if found:
            return found[1]
    return platform.processor() or platform.machine()


def output_folder(config: BenchmarkConfig) -> Path:
    """`output_dir`, or output/benchmark below the current folder; made, to learn early that it cannot be."""
    folder = Path(config.output_dir or "output/benchmark").expanduser()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise disk_fault(error, folder) from error
    return folder


def _context(config: BenchmarkConfig) -> dict[str, Any]:
    return {
        "machine": {"cpu": cpu_model(), **machine(CPU)},
        "versions": versions(),
        "subject": {
            "weights": config.weights or "published sizes, random numbers (seed 0)",
            "rounds": config.rounds,
        },
    }


def _pieces(
    config: BenchmarkConfig, plan: dict[Workload, list[str]], networks: "Networks", findings: Findings, step: Step
) -> dict[str, Callable[[], None]]:
    """What there is to measure, in order, by name; each adds to `findings`."""

    def times(workload: Workload, variants: list[str]) -> None:
        contenders = [networks.contender(name, workload.tiny) for name in variants]
        findings.lines.extend(measure(workload, contenders, config.rounds, step))

    def peaks(workload: str) -> None:
        for variant in dict.fromkeys(config.variants):
            check()
            step(f"{workload}: peak memory of {variant}")
            findings.peaks.append(measure_peak(workload, variant, config.weights, config.runtime.threads))

    def end_to_end(name: str) -> None:
        workload, settings = parse_workload(name), config.end_to_end
        network = networks.networks[workload.tiny]
        findings.end_to_end.append(
            measure_end_to_end(network, workload, settings.variant, settings.frames, config.rounds, step)
        )

    return {
        **{workload.name: partial(times, workload, variants) for workload, variants in plan.items()},
        **{f"peak memory of {name}": partial(peaks, name) for name in config.peak_memory},
        **{f"{name} end to end": partial(end_to_end, name) for name in config.end_to_end.workloads},
    }


def _tiny_end_to_end(config: BenchmarkConfig) -> set[bool]:
    return {parse_workload(name).tiny for name in config.end_to_end.workloads}


def _total(config: BenchmarkConfig, plan: dict[Workload, list[str]]) -> int:
    rounds = sum(steps_of(len(variants), config.rounds) for variants in plan.values())
    ways = len(config.end_to_end.workloads) * len(WAYS) * (config.rounds + 1)
    return rounds + len(config.peak_memory) * len(set(config.variants)) + ways
