"""Configuration objects built in Python, without Hydra."""

import pytest

import xmem_infer
from xmem_infer import (
    DataConfig,
    Device,
    EvalConfig,
    GradMode,
    LateObjects,
    MemoryConfig,
    OutputConfig,
    Precision,
    RuntimeConfig,
    UsageError,
)
from xmem_infer.scoring.score_folders import ScoreConfig
from xmem_infer.scoring.scores import Rules


def test_choices_can_be_given_by_name():
    runtime = RuntimeConfig(device="cpu", precision="bf16", grad_mode="no_grad")
    assert runtime == RuntimeConfig(Device.cpu, GradMode.no_grad, Precision.bf16)
    assert MemoryConfig(late_objects="published").late_objects is LateObjects.published
    assert ScoreConfig(rules="davis16").rules is Rules.davis16


@pytest.mark.parametrize(
    ("build", "said"),
    [
        (lambda: RuntimeConfig(precision="fp8"), r"runtime\.precision=fp8 .*auto, fp32, tf32, fp16, bf16"),
        (lambda: DataConfig(on_corrupt=3), r"data\.on_corrupt=3 .*fail, warn"),
        (lambda: DataConfig(size="480p"), r"data\.size='480p' .*a whole number"),
        (lambda: RuntimeConfig(threads="all"), r"runtime\.threads='all' .*a whole number"),
        (lambda: MemoryConfig(long_term="false"), r"memory\.long_term='false' .*true or false"),
        (lambda: OutputConfig(overlay="no"), r"output\.overlay='no' .*true or false"),
        (lambda: EvalConfig(workers="2"), r"workers='2' .*a whole number"),
        (lambda: ScoreConfig(rules="davis18"), r"rules=davis18 .*auto, davis16, davis17"),
    ],
)
@pytest.mark.fault(
    "configuration object with an invalid value", "error from the constructor names the key and the valid values"
)
def test_invalid_values_are_refused_with_the_choices(build, said):
    with pytest.raises(UsageError, match=said):
        build()
    with pytest.raises(ValueError, match=said):
        build()


def test_every_public_name_exists():
    for name in xmem_infer.__all__:
        assert getattr(xmem_infer, name) is not None
    assert xmem_infer.__version__.count(".") == 2
