"""Gradient modes and precisions measured on a clip, or the documents' claims checked. See configs/ablate.yaml."""

from xmem_infer.cli import leave, run
from xmem_infer.lab.ablation.config import AblateConfig


def main() -> None:
    leave(run("ablate", AblateConfig, _ablate))


def _ablate(config: AblateConfig) -> int:
    from xmem_infer.lab.ablation.run import ablate  # torch takes seconds; a typo should not wait for it

    return ablate(config)


if __name__ == "__main__":
    main()
