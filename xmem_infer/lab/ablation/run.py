"""The command `scripts/ablate.py`: check the settings, measure in child processes, write the report."""

import logging
from collections.abc import Sequence
from time import perf_counter

import torch

from ...config import Device, Precision, configs_dir
from ...errors import UsageError
from ...runtime.contexts import thread_count
from ...runtime.device import choose_device
from ...runtime.limits import check_threads
from ...runtime.precision import check_precision
from ...weights.files import read_checkpoint
from ...weights.manifest import require_hash, resolve_weights
from ..charts import new_figure
from ..report import output_folder, setting
from .clip import Clip, open_clip, with_objects
from .config import PRECISIONS, AblateConfig, MatrixConfig, Suite
from .documents import check_documents
from .plan import Setup, combinations
from .report import write_report
from .runs import sweep

FOLDERS = {Suite.modes: "output/ablation", Suite.documents: "output/ablation_documents"}
log = logging.getLogger(__name__)


def ablate(config: AblateConfig) -> int:
    """Measure what `config` asks for and write the report.

    Returns:
        0, or 1 if runs failed (running out of memory is not a failure).

    Raises:
        UsageError: Before any measurement: a precision or device is not available, or the clip is too short.
        WeightsError: Before any measurement: the weights cannot be used.
        EnvironmentFault: matplotlib is missing, or the output folder cannot be written to.
    """
    new_figure(1, 1)  # fails without matplotlib: better now than after the sweep
    device = choose_device(config.runtime.device)
    precisions = precisions_for(config.ablate.precisions, device)
    check_threads(config.runtime.threads)
    example = configs_dir().parent / "examples" / "clip"  # only in a checkout
    clip = open_clip(config.video_dir or (str(example) if example.is_dir() else None), config.mask, config.data)
    check_scenes(config.ablate, clip)
    weights = resolve_weights(config.weights)
    folder = output_folder(config.output_dir or FOLDERS[config.suite])
    setup = Setup(config, clip, weights, Device[device.type])
    file = read_checkpoint(weights)
    require_hash(file.path, file.sha256)
    subject = {
        "clip": f"{clip.name}, {clip.size[1]}x{clip.size[0]}, {clip.count} frames",
        "weights": f"{file.path.name}, sha256 {file.sha256[:16]}",
        "memory ceiling": f"{config.ablate.max_memory_gb:g} GB",
    }
    with thread_count(config.runtime.threads):
        conditions = setting(device, subject)
    if config.suite is Suite.documents:
        return check_documents(setup, precisions, conditions, folder)
    matrix = combinations(config.ablate, precisions)
    log.info("%d combinations, %d runs each, on %s", len(matrix), config.ablate.repeats, conditions["device"])
    started = perf_counter()
    runs = sweep(setup, matrix, config.ablate.repeats)
    conditions["sweep took"] = f"{perf_counter() - started:.0f} s"
    write_report(config.ablate, conditions, runs, clip, folder)
    log.info("report in %s", folder / "report.md")
    return 1 if any(run.status == "failed" for run in runs) else 0


def precisions_for(wanted: Sequence[Precision] | None, device: torch.device) -> list[Precision]:
    """Return the requested precisions, or all that the device supports. Raises UsageError for an unsupported one."""
    if device.type not in ("cpu", "cuda"):
        raise UsageError(f"runtime.device={device.type}: memory is measured on cpu and cuda only; choose one of them")
    if wanted is not None:
        for precision in wanted:
            check_precision(precision, device)
        return list(wanted)
    if device.type == "cpu":
        return [Precision.fp32, Precision.bf16]
    ampere = torch.cuda.get_device_capability(device) >= (8, 0)
    return list(PRECISIONS) if ampere else [Precision.fp32, Precision.fp16]


def check_scenes(matrix: MatrixConfig, clip: Clip) -> None:
    """Raise UsageError if the clip has too few frames, or if its mask cannot be cut into that many objects."""
    if clip.count is not None and max(matrix.frames) > clip.count:
        raise UsageError(f"ablate.frames={max(matrix.frames)}: {clip.name} has {clip.count} frames")
    for objects in matrix.objects:
        with_objects(clip.first, objects)
