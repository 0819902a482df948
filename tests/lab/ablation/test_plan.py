import hydra
import pytest
import torch
from ablation_clip import write_clip
from hydra.core.config_store import ConfigStore
from omegaconf import OmegaConf

from xmem_infer.config import DataConfig, GradMode, Precision, configs_dir
from xmem_infer.errors import UsageError
from xmem_infer.lab.ablation.clip import open_clip
from xmem_infer.lab.ablation.config import AblateConfig, DocumentsConfig, MatrixConfig
from xmem_infer.lab.ablation.plan import combinations
from xmem_infer.lab.ablation.run import check_scenes, precisions_for

CPU = torch.device("cpu")


def test_the_yaml_holds_the_defaults_of_the_dataclasses():
    ConfigStore.instance().store(name="ablate_schema", node=AblateConfig)
    with hydra.initialize_config_dir(str(configs_dir()), version_base="1.3"):
        assert OmegaConf.to_object(hydra.compose("ablate")) == AblateConfig()


def test_every_combination_once_and_modes_side_by_side():
    matrix = MatrixConfig(sizes=[240, 480], objects=[1, 1], frames=[5, 8])
    found = combinations(matrix, [Precision.fp32, Precision.bf16])
    assert len(found) == len(set(found)) == 2 * 1 * 2 * 2 * 5
    assert [one.mode for one in found[:5]] == list(GradMode)
    assert len({(one.scene, one.precision) for one in found[:5]}) == 1


def test_precisions_that_the_device_lacks_are_refused():
    assert precisions_for(None, CPU) == [Precision.fp32, Precision.bf16]
    assert precisions_for([Precision.fp32], CPU) == [Precision.fp32]
    with pytest.raises(UsageError, match=r"tf32.*NVIDIA"):
        precisions_for([Precision.fp32, Precision.tf32], CPU)
    with pytest.raises(UsageError, match="mps"):
        precisions_for(None, torch.device("mps"))


def test_scenes_the_clip_cannot_give_are_refused(tmp_path, make_clip):
    write_clip(tmp_path, make_clip)
    clip = open_clip(str(tmp_path), None, DataConfig())
    check_scenes(MatrixConfig(objects=[4], frames=[8]), clip)
    with pytest.raises(UsageError, match=r"ablate\.frames=9.*8 frames"):
        check_scenes(MatrixConfig(frames=[9]), clip)


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"sizes": [8]}, "data.size=8"),
        ({"sizes": []}, "ablate.sizes"),
        ({"objects": [0]}, "ablate.objects=0"),
        ({"frames": [2]}, "ablate.frames=2"),
        ({"repeats": 0}, "ablate.repeats=0"),
        ({"max_memory_gb": 0.1}, "ablate.max_memory_gb=0.1"),
        ({"precisions": [Precision.auto]}, "ablate.precisions=auto.*null: all"),
    ],
)
def test_wrong_settings_are_refused_with_the_reason(wrong, words):
    with pytest.raises(UsageError, match=words):
        MatrixConfig(**wrong)


def test_documents_sizes_are_checked():
    with pytest.raises(UsageError, match=r"documents\.hidden=0"):
        DocumentsConfig(hidden=0)
