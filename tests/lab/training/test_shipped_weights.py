"""The file that comes with the project: it tracks the example clip, on CPU, in seconds."""

import dataclasses
import json
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from xmem_infer.config import MemoryConfig, Precision, RuntimeConfig, configs_dir
from xmem_infer.lab.training.batches import stage_at
from xmem_infer.lab.training.config import Stage, TrainConfig, learning_settings
from xmem_infer.lab.training.validation import find_clips, score, tracker
from xmem_infer.weights.build import load_network

ROOT = Path(__file__).resolve().parents[3]
WEIGHTS = ROOT / "weights" / "xmem-tiny.safetensors"


@pytest.fixture(scope="module")
def loaded():
    return load_network(WEIGHTS)


def test_the_file_is_small_and_says_where_it_comes_from(loaded):
    assert WEIGHTS.stat().st_size <= 16 * 2**20
    assert "non-commercial" in loaded.metadata["licence"]
    assert loaded.metadata["mean_with"].startswith("0.5 of sha256 ")
    assert {"settings", "seed", "network", "scores"} <= loaded.metadata.keys()


def test_it_is_what_the_settings_train(loaded):
    """train_further goes on from train_lite0; the file is the mean of both ends, see weights/MODEL_CARD.md."""
    keys = [field.name for field in dataclasses.fields(TrainConfig)]
    names = ("train.yaml", "experiment/train_lite0.yaml", "experiment/train_further.yaml")
    files = (OmegaConf.load(configs_dir() / name) for name in names)
    given = OmegaConf.masked_copy(OmegaConf.merge(*files), keys)
    # A setting that came later has its default in both.
    settings, written = (
        learning_settings(OmegaConf.to_object(OmegaConf.merge(OmegaConf.structured(TrainConfig), part)))
        for part in (given, json.loads(loaded.metadata["settings"]))
    )
    assert written == settings
    stages, seen = [Stage(**stage) for stage in settings["stages"]], 0
    while seen < settings["optim"]["total_samples"]:
        seen += stage_at(stages, seen).batch
    assert int(loaded.metadata["samples"]) == seen


def test_it_follows_the_example_clip(loaded):
    (clip,) = find_clips(ROOT / "examples" / "clip")
    track = tracker(loaded.network, 240, RuntimeConfig(precision=Precision.fp32), MemoryConfig())
    assert score(clip, track).measures.overall > 0.75
