"""What `scripts/ablate.py` does: check, measure in child processes, report."""

import logging
import tempfile
from pathlib import Path
from time import perf_counter
from typing import Any

import torch

from ...config import Device, configs_dir
from ...errors import UsageError
from ...evaluate.provenance import machine
from ...io.versions import versions
from ...runtime.device import choose_device
from ...runtime.limits import thread_count
from ...weights.files import read_checkpoint, verify_hash
from ...weights.manifest import resolve_weights
from ..charts import new_figure
from ..report import output_folder
from .clip import open_clip
from .config import AblateConfig, Suite
from .documents import check_documents
from .plan import check_scenes, combinations, interleaved, precisions_for
from .report import Findings, console_summary, write_report
from .summary import agreements, joined, savings
from .sweep import Setup, sweep

FOLDERS = {Suite.modes: "output/ablation", Suite.documents: "output/ablation_documents"}
log = logging.getLogger(__name__)


def ablate(config: AblateConfig) -> int:
    """Measure what `config` asks for and write the report.

    Returns:
        0, or 1 where runs failed (out of memory is no failure).

    Raises:
        UsageError: Before any work: a precision or device that is not there, a clip that is too short.
        WeightsError: Before any work: weights that cannot be used.
        EnvironmentFault: No matplotlib, or a folder that cannot be written to.
    """
    new_figure(1, 1)  # without matplotlib the report cannot be made: said now, not after the sweep
    device = choose_device(config.runtime.device)
    precisions = precisions_for(config.ablate.precisions, device)
    clip = open_clip(config.video_dir or str(_example_clip()), config.mask, config.data)
    check_scenes(config.ablate, clip)
    weights = resolve_weights(config.weights)
    folder = output_folder(config.output_dir, FOLDERS[config.suite])
    with tempfile.TemporaryDirectory(prefix="xmem_ablation_") as scratch:
        setup = Setup(config, clip, weights, Path(scratch), Device[device.type])
        context = _context(setup, device)
        if config.suite is Suite.documents:
            return check_documents(setup, precisions, context, folder)
        found = combinations(config.ablate, precisions)
        log.info(
            "%d combinations, %d runs each, on %s", len(found), config.ablate.repeats, context["machine"]["device"]
        )
        started = perf_counter()
        runs = sweep(setup, interleaved(found, config.ablate.repeats))
        context["subject"]["sweep took"] = f"{perf_counter() - started:.0f} s"
        findings = Findings(config, context, runs, savings(joined(runs)), agreements(runs, clip))
    write_report(findings, folder)
    for line in console_summary(findings):
        log.info(line)
    log.info("report in %s", folder / "report.md")
    return 1 if any(run.status == "failed" for run in runs) else 0


def _context(setup: Setup, device: torch.device) -> dict[str, Any]:
    """Machine, versions, weights and clip. Raises WeightsError for weights that cannot be used."""
    file = read_checkpoint(setup.weights)
    verify_hash(file)
    with thread_count(setup.config.runtime.threads):
        where = machine(device)
    clip = setup.clip
    return {
        "machine": where,
        "versions": versions(),
        "subject": {
            "clip": f"{clip.name}, {clip.size[1]}x{clip.size[0]}, {clip.count} frames",
            "weights": f"{file.path.name}, sha256 {file.sha256[:16]}",
            "memory ceiling": f"{setup.config.ablate.max_memory_gb:g} GB",
        },
    }


def _example_clip() -> Path:
    """The clip of the repository. Raises UsageError where there is only the package."""
    path = configs_dir().parent / "examples" / "clip"
    if not path.is_dir():
        raise UsageError("video_dir is not given, and the example clip is not part of the package: give video_dir=PATH")
    return path
