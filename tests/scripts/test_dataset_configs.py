"""Every dataset and experiment config, composed by Hydra alone and in combination."""

import dataset_trees as trees
import pytest
from hydra import compose, initialize_config_dir
from hydra.core.config_store import ConfigStore
from omegaconf import OmegaConf

from xmem_infer.config import EvalConfig, LateObjects, Precision, TtaConfig, configs_dir
from xmem_infer.errors import UsageError

NAMES = sorted(path.stem for path in (configs_dir() / "dataset").glob("*.yaml"))


@pytest.fixture
def composed():
    ConfigStore.instance().store(name="eval_schema", node=EvalConfig)
    with initialize_config_dir(str(configs_dir()), version_base="1.3"):
        yield lambda *overrides: OmegaConf.to_object(compose("eval", list(overrides)))


def test_without_a_data_set(composed):
    config = composed()
    assert (config.dataset, config.score, config.tta) == (None, True, TtaConfig())


def test_data_sets_compose(composed):
    for name in NAMES:
        config = composed(f"dataset={name}")
        expected = trees.eval_config(name)
        assert (config.dataset, config.data, config.memory) == (expected.dataset, expected.data, expected.memory)


def test_the_command_line_overrides_configs(composed):
    config = composed("dataset=long_video", "data.size=96", "memory.memory_every=3", "dataset.videos=[2]")
    assert (config.data.size, config.memory.memory_every, config.dataset.videos) == (96, 3, [2])


def test_settings_of_the_xmem_paper(composed):
    config = composed("experiment=xmem_paper", "dataset=long_video")
    assert config.runtime.precision is Precision.fp16
    assert config.memory.late_objects is LateObjects.published
    assert (config.data.antialias, config.memory.memory_every) == (False, 10)
    assert composed().memory.late_objects is LateObjects.aligned


def test_settings_of_the_cutie_paper(composed):
    config = composed("experiment=cutie_paper", "dataset=davis17_val")
    assert (config.memory.long_term, config.memory.fifo_frames, config.memory.stagger_updates) == (False, 5, 5)
    assert (config.data.antialias, config.data.size, config.runtime.precision) == (True, 480, Precision.fp32)
    assert config.dataset.published["cutie-base-nomose"]["J&F"] == 88.8


@pytest.mark.parametrize("override", ["tta.sizes=[480,480]", "tta.sizes=[3]", "dataset.rules=davis18"])
def test_invalid_values_are_refused(composed, override):
    with pytest.raises(UsageError, match=override.partition("=")[0]):
        composed("dataset=davis17_val", override)


def test_flip_and_only_flipped_exclude_each_other():
    with pytest.raises(UsageError, match="only_flipped"):
        TtaConfig(flip=True, only_flipped=True)
