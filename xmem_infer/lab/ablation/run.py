"""What `scripts/ablate.py` does: check, measure in child processes, report."""

import tempfile
from collections.abc import Callable
from pathlib import Path
from time import perf_counter
from typing import Any

import torch

from ...config import Device, configs_dir
from ...errors import UsageError
from ...evaluate.provenance import machine
from ...io.atomic import disk_fault
from ...io.versions import versions
from ...runtime.device import choose_device
from ...runtime.limits import thread_count
from ...weights.files import read_checkpoint, verify_hash
from ...weights.manifest import resolve_weights
from ..charts import new_figure
from .clip import Clip, open_clip
from .config import AblateConfig, Suite
from .documents import check_documents
from .plan import cells_of, check_scenes, interleaved, precisions_for
from .plots import draw_agreement, draw_by_frame, draw_memory, draw_savings, draw_time
from .process import Nursery
from .report import Findings, console_summary, write_report, write_results
from .summary import agreements, lines_of, savings
from .sweep import Bench, sweep

Say = Callable[[str], None]


def ablate(config: AblateConfig, say: Say = lambda line: None) -> int:
    """Measure what `config` asks for and write the report; 0, or 1 where runs failed (out of memory is no failure).

    Raises UsageError before any work: a precision or device that is not there, a clip that is too short.
    """
    new_figure(1, 1)  # without matplotlib the report cannot be made: said now, not after the sweep
    device = choose_device(config.runtime.device)
    precisions = precisions_for(config.ablate.precisions, device)
    clip = open_clip(config.video_dir or str(example_clip()), config.mask, config.data)
    check_scenes(config.ablate, clip)
    weights = resolve_weights(config.weights)
    folder = output_folder(config)
    with tempfile.TemporaryDirectory(prefix="xmem_ablation_") as scratch, Nursery() as nursery:
        bench = Bench(
            clip, weights, Path(scratch), config.data, config.memory, Device[device.type], config.runtime.threads,
            config.ablate.max_memory_gb, config.ablate.warmup_frames,
        )  # fmt: skip
        if config.suite is Suite.documents:
            return check_documents(config, bench, nursery, precisions, describe(bench, device), folder, say)
        context = describe(bench, device)
        cells = cells_of(config.ablate, precisions)
        say(f"{len(cells)} combinations, {config.ablate.repeats} runs each, on {context['machine']['device']}")
        started = perf_counter()
        rows = sweep(bench, interleaved(cells, config.ablate.repeats), nursery, say)
        context["subject"]["sweep took"] = f"{perf_counter() - started:.0f} s"
        lines = lines_of(rows)
        findings = Findings(config, context, rows, lines, savings(lines), agreements(rows, clip))
    write_results(findings, folder)
    draw(findings, folder)
    write_report(findings, folder)
    for line in console_summary(lines, findings.savings):
        say(line)
    say(f"report in {folder / 'report.md'}")
    return 1 if any(row.status == "failed" for row in rows) else 0


def draw(findings: Findings, folder: Path) -> None:
    """All pictures of a sweep."""
    draw_memory(findings.lines, folder)
    draw_by_frame(findings.lines, folder, findings.config.ablate.max_memory_gb)
    draw_time(findings.lines, folder)
    if findings.savings:
        draw_savings(findings.savings, folder)
    if findings.agreements:
        draw_agreement(findings.agreements, folder)


def describe(bench: Bench, device: torch.device) -> dict[str, Any]:
    """Machine, versions, weights and clip. Raises WeightsError for weights that cannot be used, before the sweep."""
    file = read_checkpoint(bench.weights)
    verify_hash(file)
    with thread_count(bench.threads):
        where = machine(device)
    clip: Clip = bench.clip
    return {
        "machine": where,
        "versions": versions(),
        "subject": {
            "clip": f"{clip.name}, {clip.size[1]}x{clip.size[0]}, {clip.count} frames",
            "weights": f"{file.path.name}, sha256 {file.sha256[:16]}",
            "memory ceiling": f"{bench.max_memory_gb:g} GB",
        },
    }


def example_clip() -> Path:
    """The clip of the repository. Raises UsageError where there is only the package."""
    path = configs_dir().parent / "examples" / "clip"
    if not path.is_dir():
        raise UsageError("video_dir is not given, and the example clip is not part of the package: give video_dir=PATH")
    return path


def output_folder(config: AblateConfig) -> Path:
    """`output_dir`, or output/ablation below the current folder; made, to learn early that it cannot be."""
    default = "ablation" if config.suite is Suite.modes else "ablation_documents"
    folder = Path(config.output_dir).expanduser() if config.output_dir else Path("output") / default
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise disk_fault(error, folder) from error
    return folder
