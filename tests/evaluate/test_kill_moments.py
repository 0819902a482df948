"""SIGKILL of a run before any of its file changes: the next run gives the result of an uninterrupted one."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from batch_trees import ROOT
from PIL import Image

HELPER = Path(__file__).with_name("kill_moments.py")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.slow
@pytest.mark.parametrize("every", [16, pytest.param(1, marks=pytest.mark.soak)])
@pytest.mark.fault(
    "run killed with SIGKILL at one in {every} of its file changes",
    "rerun gives the same output as an uninterrupted run",
)
def test_a_run_killed_before_any_file_change_can_be_repeated(tmp_path, make_clip, tiny_weights, every):
    images, masks = make_clip(6, 48, 64, 2, seed=0)
    (tmp_path / "clip").mkdir()
    (tmp_path / "given").mkdir()
    for t, image in enumerate(images):
        Image.fromarray(image).save(tmp_path / "clip" / f"{t}.png")
    for t, ids in ((0, [1]), (3, [2])):
        Image.fromarray(masks[t] * np.isin(masks[t], ids)).save(tmp_path / "given" / f"{t}.png")
    command = [sys.executable, str(HELPER), *map(str, (tmp_path / "clip", tmp_path / "given", tiny_weights))]
    path = os.pathsep.join([str(ROOT), str(ROOT / "tests"), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        [*command, str(tmp_path), str(every)], capture_output=True, text=True, timeout=800,
        env={**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    *wrong, last = done.stdout.splitlines()
    assert wrong == []
    assert int(last.removeprefix("kills=")) >= 100 / every
