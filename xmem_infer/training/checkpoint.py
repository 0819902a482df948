"""The files a run is resumed from: each at most 16 MB, a folder that appears whole or not at all."""

import json
import os
import shutil
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from ..errors import EnvironmentFault
from .step import TrainState

_PREFIX = "samples-"


def save_checkpoint(state: TrainState, folder: Path) -> Path:
    """Write folder/samples-<n>/ (network, average, both moments, counters) and drop older ones."""
    name = f"{_PREFIX}{state.seen:08d}"
    final, partial = folder / name, folder / f".{name}.{os.getpid()}.part"
    if final.is_dir():
        return final
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    for part, tensors in _parts(state).items():
        save_file({key: value.contiguous() for key, value in tensors.items()}, partial / f"{part}.safetensors")
    counters = {"seen": state.seen, "steps": state.steps}
    (partial / "counters.json").write_text(json.dumps(counters))
    partial.rename(final)
    for old in _all(folder):
        if old != final:
            shutil.rmtree(old)
    return final


def latest_checkpoint(folder: Path) -> Path | None:
    """The newest complete checkpoint below a folder."""
    found = _all(folder)
    return found[-1] if found else None


def load_checkpoint(state: TrainState, path: Path) -> None:
    """Put a saved run into `state`, in place. EnvironmentFault where it belongs to another network."""
    parts = {part: load_file(path / f"{part}.safetensors") for part in ("network", "average", "first", "second")}
    try:
        state.network.load_state_dict(parts["network"])
        state.average.load_state_dict(parts["average"])
    except RuntimeError as error:
        raise EnvironmentFault(f"{path} was made with other network widths than the settings: {error}") from error
    counters = json.loads((path / "counters.json").read_text())
    state.seen, state.steps = counters["seen"], counters["steps"]
    for name, parameter in state.network.named_parameters():
        if name in parts["first"]:
            state.optimizer.state[parameter] = {
                "step": torch.tensor(float(state.steps)),
                "exp_avg": parts["first"][name].to(parameter),
                "exp_avg_sq": parts["second"][name].to(parameter),
            }


def _parts(state: TrainState) -> dict[str, dict[str, Tensor]]:
    moments: dict[str, dict[str, Tensor]] = {"first": {}, "second": {}}
    for name, parameter in state.network.named_parameters():
        held = state.optimizer.state.get(parameter)
        if held:
            moments["first"][name], moments["second"][name] = held["exp_avg"], held["exp_avg_sq"]
    return {"network": state.network.state_dict(), "average": state.average.state_dict(), **moments}


def _all(folder: Path) -> list[Path]:
    return sorted(folder.glob(f"{_PREFIX}*"))
