"""Train the embedded model, or go on with a run: `python scripts/train.py data_pack=PATH run_dir=PATH [key=value ...]`.

The same command again resumes. Ctrl-C saves and stops. Curves: <run_dir>/training.png.
"""

import logging
import sys

import hydra
from hydra.core.config_store import ConfigStore
from omegaconf import DictConfig, OmegaConf

from xmem_infer.config import configs_dir
from xmem_infer.errors import XMemInferError
from xmem_infer.training.config import TrainConfig
from xmem_infer.training.loop import train

ConfigStore.instance().store(name="train_schema", node=TrainConfig)


@hydra.main(version_base="1.3", config_path=str(configs_dir()), config_name="train")
def main(settings: DictConfig) -> None:
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    try:
        config = OmegaConf.to_object(settings)
        assert isinstance(config, TrainConfig)
        state = train(config)
    except XMemInferError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
    print(f"{state.seen} samples seen, saved below {config.run_dir}")


if __name__ == "__main__":
    main()
