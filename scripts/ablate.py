"""Gradient modes and precisions measured on a clip, or the documents' claims checked. See configs/ablate.yaml."""

from xmem_infer.cli.commands import exit_with, run
from xmem_infer.lab.ablation.config import AblateConfig

if __name__ == "__main__":
    exit_with(run("ablate", AblateConfig, "lab.ablation.run.ablate"))
