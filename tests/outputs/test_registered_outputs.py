"""Outputs that are added from outside the package or chosen by name."""

import numpy as np
import pytest
from written_clips import random_maps, tree, write

from xmem_infer.config import OutputConfig
from xmem_infer.errors import EnvironmentFault, UsageError
from xmem_infer.outputs.protocol import OUTPUTS, Output
from xmem_infer.outputs.writer import chosen_outputs


class Areas(Output):
    """A plugin output: a text file with the share of the background, computed from the scores."""

    path = "areas/{video}.txt"
    needs_scores = True

    def __init__(self, video):
        super().__init__(video)
        self.lines = []

    def write(self, item):
        self.lines.append(f"{item.frame.name} {item.scores[0].mean() / 255:.3f}")

    def finish(self):
        self.staged.partial.write_text("\n".join(self.lines))


@pytest.fixture
def areas(monkeypatch):
    """The output registered for one test."""
    monkeypatch.setitem(OUTPUTS._entries, "areas", Areas)
    return OutputConfig(overlay=False, preview=False, also=["areas"])


def test_a_registered_output_is_written(tmp_path, areas):
    maps = [np.array([[0, 0, 0, 3]], np.uint8)] * 2
    write(tmp_path, maps, options=areas)
    assert set(tree(tmp_path)) == {
        "masks/clip/00000.png",
        "masks/clip/00001.png",
        "confidence/clip.csv",
        "areas/clip.txt",
    }
    assert (tmp_path / "areas" / "clip.txt").read_text() == "00000 0.750\n00001 0.750"


def test_a_failing_registered_output_discards_all_outputs(tmp_path, areas, monkeypatch):
    def refuse(self):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Areas, "finish", refuse)
    with pytest.raises(EnvironmentFault, match=r"cannot write .*areas.clip.txt: No space left"):
        write(tmp_path, random_maps(2, (8, 8)), options=areas)
    assert tree(tmp_path) == {}


def test_an_unregistered_output_is_refused_by_name(tmp_path):
    with pytest.raises(UsageError, match=r"output.also=mask: .* masks"):
        write(tmp_path, random_maps(1, (8, 8)), options=OutputConfig(also=["mask"]))


def test_an_output_listed_twice_is_written_once():
    assert chosen_outputs(OutputConfig(also=["masks", "overlay"])) == ["overlay", "preview", "confidence", "masks"]
