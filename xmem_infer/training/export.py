"""The trained average as a file that `weights.build.load_network` reads."""

import json
import os
from dataclasses import asdict
from pathlib import Path

import torch
from safetensors.torch import save

from .config import TrainConfig
from .step import TrainState

LICENCE = "trained on non-commercial research data"


def export_weights(state: TrainState, config: TrainConfig, scores: dict[str, float], path: Path) -> None:
    """Write the moving average in half precision, atomically; batch norm's statistics stay float32.

    Metadata: network widths, seed, settings, samples seen, scores, licence. Paths of this machine are left out.
    """
    tensors = {}
    for name, value in state.average.state_dict().items():
        statistic = name.endswith(("running_mean", "running_var"))
        half = value.is_floating_point() and not statistic
        tensors[name] = (value.half() if half else value).cpu().contiguous()
    settings = asdict(config)
    for key in ("data_pack", "cache_dir", "run_dir", "validation", "export"):
        settings[key] = Path(settings[key]).name if settings[key] else None
    metadata = {
        "model": "xmem-tiny",
        "licence": LICENCE,
        "samples": str(state.seen),
        "steps": str(state.steps),
        "seed": str(config.seed),
        "network": json.dumps(asdict(config.network)),
        "settings": json.dumps(settings, default=lambda choice: choice.value),
        "scores": json.dumps(scores),
        "torch": torch.__version__,
    }
    partial = path.with_name(f".{path.name}.{os.getpid()}.part")
    partial.parent.mkdir(parents=True, exist_ok=True)
    partial.write_bytes(save(tensors, metadata))
    partial.replace(path)
