"""Train the embedded model, or resume a run: `train.py data_packs=[PATH,...] run_dir=PATH [key=value ...]`.

The same command again resumes. Ctrl-C saves and stops. Curves: <run_dir>/training.png.
"""

from xmem_infer.cli.commands import exit_with, run
from xmem_infer.lab.training.config import TrainConfig


def train_here(config: TrainConfig) -> int:
    from xmem_infer.lab.training.loop import train  # imports torch, which takes seconds: after the settings are checked

    train(config)
    return 0


if __name__ == "__main__":
    exit_with(run("train", TrainConfig, train_here))
