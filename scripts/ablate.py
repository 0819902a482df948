"""Measure gradient modes and precisions on a clip, or check the documents' claims. See configs/ablate.yaml."""

from xmem_infer.cli.commands import exit_with, run
from xmem_infer.lab.ablation.config import AblateConfig

if __name__ == "__main__":
    exit_with(run("ablate", AblateConfig, "lab.ablation.run.ablate"))
