"""Checkpoints to resume a run from, and export of the trained weights."""

import json
from dataclasses import asdict
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save, save_file
from torch import Tensor, nn

from ...errors import EnvironmentFault
from ...io.atomic import Staged, remove, write_whole
from .config import TrainConfig, learning_settings
from .step import TrainState

MOMENTS = {"first": "exp_avg", "second": "exp_avg_sq", "step": "step"}  # state of AdamW, by the name of its file
PARTS = ("network", "average", *MOMENTS)
LICENCE = "trained on non-commercial research data"


def save_checkpoint(state: TrainState, folder: Path) -> None:
    """Write folder/samples-<n>/ atomically, with a file per part and the counters; delete older checkpoints."""
    final = folder / f"samples-{state.seen:08d}"
    if final.is_dir():
        return
    parts: dict[str, dict[str, Tensor]] = {"network": state.network.state_dict(), "average": state.average.state_dict()}
    # `step` is saved per parameter, because one that a batch does not use gets no gradient and no step from it.
    moments = {name: state.optimizer.state.get(parameter) for name, parameter in state.network.named_parameters()}
    for part, key in MOMENTS.items():
        parts[part] = {name: tensors[key] for name, tensors in moments.items() if tensors}

    def write(partial: Path) -> None:
        partial.mkdir()
        for part, tensors in parts.items():
            contiguous = {name: value.contiguous() for name, value in tensors.items()}
            save_file(contiguous, partial / f"{part}.safetensors")
        (partial / "counters.json").write_text(json.dumps({"seen": state.seen, "steps": state.steps}))

    write_whole(final, write)
    for old in folder.glob("samples-*"):
        if old != final:
            Staged(old).withdraw()
    for partial in folder.glob(".samples-*"):  # left by a killed run
        remove(partial)


def latest_checkpoint(folder: Path) -> Path | None:
    """Return the newest complete checkpoint in a folder, or None."""
    return max(folder.glob("samples-*"), default=None)


def load_checkpoint(state: TrainState, path: Path) -> None:
    """Load a checkpoint into `state`, in place. Raises EnvironmentFault if it is damaged or of another network."""
    try:
        parts = {part: load_file(path / f"{part}.safetensors") for part in PARTS}
        counters = json.loads((path / "counters.json").read_text())
        state.network.load_state_dict(parts["network"])
        state.average.load_state_dict(parts["average"])
    except (SafetensorError, ValueError, OSError, RuntimeError) as error:
        raise EnvironmentFault(
            f"{path} is damaged, or of a run with other network widths: delete it, and begin the run again ({error})"
        ) from error
    state.seen, state.steps = counters["seen"], counters["steps"]
    for name, parameter in state.network.named_parameters():
        if name in parts["step"]:
            moments = {key: parts[part][name].to(parameter) for part, key in MOMENTS.items() if part != "step"}
            state.optimizer.state[parameter] = {"step": parts["step"][name], **moments}


def export_weights(state: TrainState, config: TrainConfig, scores: dict[str, float], path: Path) -> None:
    """Write the averaged weights. Metadata: network widths, seed, settings, samples seen, scores, licence."""
    metadata = {
        "samples": str(state.seen),
        "steps": str(state.steps),
        "seed": str(config.seed),
        "network": json.dumps(asdict(config.network)),
        "settings": json.dumps(learning_settings(config)),
        "scores": json.dumps(scores),
        "torch": torch.__version__,
    }
    write_weights(state.average, metadata, path)


def write_weights(network: nn.Module, metadata: dict[str, str], path: Path) -> None:
    """Write weights in half precision, atomically; statistics of batch norm stay float32."""
    tensors = {}
    for name, value in network.state_dict().items():
        half = value.is_floating_point() and not name.endswith(("running_mean", "running_var"))
        tensors[name] = (value.half() if half else value).cpu().contiguous()
    everything = {"model": "xmem-tiny", "licence": LICENCE, **metadata}
    write_whole(path, lambda to: to.write_bytes(save(tensors, everything)))
