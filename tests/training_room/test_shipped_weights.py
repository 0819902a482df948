"""The file that comes with the project: it tracks the example clip, on CPU, in seconds."""

from pathlib import Path

import pytest

from xmem_infer.config import DataConfig, Precision, RuntimeConfig
from xmem_infer.pipeline import Segmenter
from xmem_infer.training.validation import find_clips, score, tracked_by
from xmem_infer.weights.build import load_network

ROOT = Path(__file__).resolve().parents[2]
WEIGHTS = ROOT / "weights" / "xmem-tiny.safetensors"


@pytest.fixture(scope="module")
def loaded():
    return load_network(WEIGHTS)


def test_the_file_is_small_and_says_where_it_comes_from(loaded):
    assert WEIGHTS.stat().st_size <= 16 * 2**20
    assert "non-commercial" in loaded.metadata["licence"]
    assert int(loaded.metadata["samples"]) > 30_000
    assert {"settings", "seed", "network", "scores"} <= loaded.metadata.keys()


def test_it_follows_the_example_clip(loaded):
    (clip,) = find_clips(ROOT / "examples" / "clip")
    segmenter = Segmenter(loaded.network, None, RuntimeConfig(precision=Precision.fp32), DataConfig(size=240))
    assert score(clip, tracked_by(segmenter)).measures.jf > 0.5
