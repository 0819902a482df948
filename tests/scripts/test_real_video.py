"""`scripts/eval.py` on real clips, if they are present next to the checkout: every frame gets a mask."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

ROOT = Path(__file__).resolve().parents[2]
DATA = ROOT.parent / "shared" / "data"

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not DATA.is_dir(), reason="the real clips do not lie beside this checkout"),
]


def run(output, *overrides):
    # A small working size: these tests are about reading and writing files.
    command = [sys.executable, str(ROOT / "scripts" / "eval.py"), "weights=xmem-tiny", "data.size=96", "score=false"]
    done = subprocess.run(
        [*command, f"output_dir={output}", *overrides],
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        timeout=800,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads((output / "run.json").read_text())["videos"]


def check_masks(folder, names, size, labels):
    assert sorted(path.stem for path in folder.iterdir()) == sorted(names)
    for path in folder.iterdir():
        with Image.open(path) as mask:
            assert (mask.mode, mask.size) == ("P", size)
            assert set(np.unique(mask)) <= {0, *labels}


@pytest.mark.parametrize("name", ["davis2016_dev", "multi_object"])
def test_folders_of_frames(tmp_path, name):
    videos = run(tmp_path, f"video_dir={DATA / name}")
    frames = {path.parent for path in (DATA / name / "JPEGImages").rglob("*.jpg")}
    assert {folder.name for folder in frames} == set(videos)
    for folder in frames:
        stems = [path.stem for path in folder.iterdir()]
        first = next((DATA / name / "Annotations").rglob(f"{folder.name}/{min(stems)}.png"))
        with Image.open(first) as given:
            labels, size = set(np.unique(given)) - {0}, given.size
        check_masks(tmp_path / "masks" / folder.name, stems, size, labels)


@pytest.mark.parametrize(
    ("name", "frames", "size", "settings"),
    [
        ("sam2_bedroom", 200, (960, 540), ()),
        ("intel_one_by_one_person", 1394, (768, 432), ("output.overlay=false", "output.preview=false")),
    ],
)
def test_video_files(tmp_path, name, frames, size, settings):
    mask = np.zeros(size[::-1], np.uint8)
    mask[80:380, 340:460], mask[140:400, 150:280] = 7, 200
    Image.fromarray(mask).save(tmp_path / "first.png")
    video, mask = DATA / "videos" / f"{name}.mp4", tmp_path / "first.png"
    videos = run(tmp_path / "out", f"video_dir={video}", f"mask={mask}", *settings)
    assert videos[name]["status"] == "done"
    check_masks(tmp_path / "out" / "masks" / name, [f"{t:05d}" for t in range(frames)], size, {7, 200})
