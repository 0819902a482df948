"""What `scripts/ablate.py` does: check, measure in child processes, report."""

import logging
from collections.abc import Sequence
from pathlib import Path
from time import perf_counter
from typing import Any

import torch

from ...config import Device, Precision, configs_dir
from ...errors import UsageError
from ...runtime.device import choose_device
from ...runtime.limits import check_threads, thread_count
from ...runtime.precision import check_precision
from ...weights.files import read_checkpoint
from ...weights.hashes import require_hash
from ...weights.manifest import resolve_weights
from ..charts import new_figure
from ..report import output_folder, setting
from .clip import Clip, open_clip, with_objects
from .comparisons import agreements, savings
from .config import AblateConfig, MatrixConfig, Suite
from .documents import check_documents
from .plan import Setup, combinations, interleaved
from .report import Findings, console_summary, write_report
from .runs import joined, sweep

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
    check_threads(config.runtime.threads)
    clip = open_clip(config.video_dir or str(_example_clip()), config.mask, config.data)
    check_scenes(config.ablate, clip)
    weights = resolve_weights(config.weights)
    folder = output_folder(config.output_dir or FOLDERS[config.suite])
    setup = Setup(config, clip, weights, Device[device.type])
    where = _setting(setup, device)
    if config.suite is Suite.documents:
        return check_documents(setup, precisions, where, folder)
    found = combinations(config.ablate, precisions)
    log.info("%d combinations, %d runs each, on %s", len(found), config.ablate.repeats, where["device"])
    started = perf_counter()
    runs = sweep(setup, interleaved(found, config.ablate.repeats))
    where["sweep took"] = f"{perf_counter() - started:.0f} s"
    findings = Findings(config, where, runs, savings(joined(runs)), agreements(runs, clip))
    write_report(findings, folder)
    for line in console_summary(findings):
        log.info(line)
    log.info("report in %s", folder / "report.md")
    return 1 if any(run.status == "failed" for run in runs) else 0


def precisions_for(wanted: Sequence[Precision] | None, device: torch.device) -> list[Precision]:
    """The precisions to measure: those asked for, each refused where the device lacks it, else all it computes in."""
    if device.type not in ("cpu", "cuda"):
        raise UsageError(f"runtime.device={device.type}: memory is measured on cpu and cuda only; choose one of them")
    if wanted is not None:
        for precision in wanted:
            check_precision(precision, device)
        return list(wanted)
    if device.type == "cpu":
        return [Precision.fp32, Precision.bf16]
    ampere = torch.cuda.get_device_capability(device) >= (8, 0)
    return (
        [Precision.fp32, Precision.tf32, Precision.fp16, Precision.bf16] if ampere else [Precision.fp32, Precision.fp16]
    )


def check_scenes(matrix: MatrixConfig, clip: Clip) -> None:
    """Raise UsageError for more frames than the clip has, or more objects than its mask can be cut into."""
    if clip.count is not None and max(matrix.frames) > clip.count:
        raise UsageError(f"ablate.frames={max(matrix.frames)}: {clip.name} has {clip.count} frames")
    for objects in matrix.objects:
        with_objects(clip.first, objects)


def _setting(setup: Setup, device: torch.device) -> dict[str, Any]:
    """Machine, clip, weights and versions. Raises WeightsError for weights that cannot be used."""
    file = read_checkpoint(setup.weights)
    require_hash(file.path, file.sha256)
    clip = setup.clip
    subject = {
        "clip": f"{clip.name}, {clip.size[1]}x{clip.size[0]}, {clip.count} frames",
        "weights": f"{file.path.name}, sha256 {file.sha256[:16]}",
        "memory ceiling": f"{setup.config.ablate.max_memory_gb:g} GB",
    }
    with thread_count(setup.config.runtime.threads):
        return setting(device, subject)


def _example_clip() -> Path:
    """The clip of the repository. Raises UsageError where there is only the package."""
    path = configs_dir().parent / "examples" / "clip"
    if not path.is_dir():
        raise UsageError("video_dir is not given, and the example clip is not part of the package: give video_dir=PATH")
    return path
