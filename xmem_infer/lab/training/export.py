"""The trained average as a file that `weights.build.load_network` reads."""

import json
from dataclasses import asdict
from pathlib import Path

import torch
from safetensors.torch import save

from ...io.atomic import write_whole
from .config import TrainConfig, learning_settings
from .step import TrainState

LICENCE = "trained on non-commercial research data"


def export_weights(state: TrainState, config: TrainConfig, scores: dict[str, float], path: Path) -> None:
    """Write the moving average in half precision, atomically; batch norm's statistics stay float32.

    Metadata: network widths, seed, settings, samples seen, scores, licence.
    """
    tensors = {}
    for name, value in state.average.state_dict().items():
        statistic = name.endswith(("running_mean", "running_var"))
        half = value.is_floating_point() and not statistic
        tensors[name] = (value.half() if half else value).cpu().contiguous()
    metadata = {
        "model": "xmem-tiny",
        "licence": LICENCE,
        "samples": str(state.seen),
        "steps": str(state.steps),
        "seed": str(config.seed),
        "network": json.dumps(asdict(config.network)),
        "settings": json.dumps(learning_settings(config)),
        "scores": json.dumps(scores),
        "torch": torch.__version__,
    }
    write_whole(path, lambda to: to.write_bytes(save(tensors, metadata)))
