"""The files a run is resumed from: each at most 16 MB, a folder that appears whole or not at all."""

import json
import shutil
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from ...errors import EnvironmentFault
from ...io.atomic import Staged
from .step import TrainState

_PREFIX = "samples-"
PARTS = ("network", "average", "first", "second", "step")


def save_checkpoint(state: TrainState, folder: Path) -> Path:
    """Write folder/samples-<n>/ (network, average, both moments, steps, counters) and drop older ones."""
    name = f"{_PREFIX}{state.seen:08d}"
    staged = Staged(folder / name)
    if staged.final.is_dir():
        return staged.final
    try:
        staged.prepare()
        staged.partial.mkdir(parents=True)
        for part, tensors in _parts(state).items():
            file = staged.partial / f"{part}.safetensors"
            save_file({key: value.contiguous() for key, value in tensors.items()}, file)
        counters = {"seen": state.seen, "steps": state.steps}
        (staged.partial / "counters.json").write_text(json.dumps(counters))
        staged.publish()
    finally:
        staged.discard()
    # Older ones, and what a killed run left of one.
    for old in [*_all(folder), *folder.glob(f".{_PREFIX}*")]:
        if old != staged.final:
            shutil.rmtree(old)
    return staged.final


def latest_checkpoint(folder: Path) -> Path | None:
    """The newest complete checkpoint below a folder."""
    found = _all(folder)
    return found[-1] if found else None


def load_checkpoint(state: TrainState, path: Path) -> None:
    """Put a saved run into `state`, in place. EnvironmentFault where it is damaged or of another network."""
    try:
        parts = {part: load_file(path / f"{part}.safetensors") for part in PARTS}
        counters = json.loads((path / "counters.json").read_text())
    except (SafetensorError, ValueError, OSError) as error:
        raise EnvironmentFault(f"{path} is damaged ({error}): delete it, and begin the run again") from error
    try:
        state.network.load_state_dict(parts["network"])
        state.average.load_state_dict(parts["average"])
    except RuntimeError as error:
        raise EnvironmentFault(f"{path} was made with other network widths than the settings: {error}") from error
    state.seen, state.steps = counters["seen"], counters["steps"]
    for name, parameter in state.network.named_parameters():
        if name in parts["first"]:
            state.optimizer.state[parameter] = {
                "step": parts["step"][name],
                "exp_avg": parts["first"][name].to(parameter),
                "exp_avg_sq": parts["second"][name].to(parameter),
            }


def _parts(state: TrainState) -> dict[str, dict[str, Tensor]]:
    moments: dict[str, dict[str, Tensor]] = {"first": {}, "second": {}, "step": {}}
    for name, parameter in state.network.named_parameters():
        held = state.optimizer.state.get(parameter)
        if held:
            moments["first"][name], moments["second"][name] = held["exp_avg"], held["exp_avg_sq"]
            # Each its own: what a batch does not need (the decoder's sensory update) gets no gradient in it.
            moments["step"][name] = held["step"]
    return {"network": state.network.state_dict(), "average": state.average.state_dict(), **moments}


def _all(folder: Path) -> list[Path]:
    return sorted(folder.glob(f"{_PREFIX}*"))
