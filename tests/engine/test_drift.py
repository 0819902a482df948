"""Signs of drift in synthetic sequences with known signs, and in a real run in which the scene changes."""

import csv
import json
import shutil

import numpy as np
import pytest
import torch
from commands import ROOT, in_process
from PIL import Image

from xmem_infer.engine.drift import DriftSummary, DriftWatch, describe, describe_briefly, mean_keys
from xmem_infer.types import ObjectConfidence

KEY = torch.tensor([[1.0, 0.0]])


def disc(centre=(50, 60), radius=10, object_id=3):
    rows, columns = np.mgrid[:100, :160]
    inside = (rows - centre[0]) ** 2 + (columns - centre[1]) ** 2 <= radius**2
    return (inside * object_id).astype(np.uint8)


def signs(watch, mask, probability=0.97, key=KEY, given=()):
    area = int((mask == 3).sum())
    seen = {3: ObjectConfidence(area, probability if area else 0.0, area == 0)}
    return watch.look(mask, seen, key, given)[3]


@pytest.fixture
def watch():
    """A `DriftWatch` that has seen the given mask and five frames without drift."""
    watch = DriftWatch()
    assert signs(watch, disc(), given=[3]).drift == ()
    for step in range(1, 6):
        assert signs(watch, disc((50, 60 + step))).drift == ()
    return watch


@pytest.mark.parametrize(
    ("mask", "probability", "angle", "expected"),
    [
        (disc((50, 67)), 0.97, 0.0, ()),
        (disc((50, 67), radius=13), 0.97, 0.0, ()),
        (np.zeros((100, 160), np.uint8), 0.0, 1.5, ("lost",)),
        (disc((50, 90)), 0.97, 0.0, ("jumped",)),
        (disc((50, 66), radius=18), 0.97, 0.0, ("area",)),
        (disc((50, 66), radius=5), 0.97, 0.0, ("area",)),
        (disc((50, 66)), 0.90, 0.5, ("appearance",)),
        (disc((50, 66)), 0.97, 0.5, ()),  # changed appearance, but high confidence
        (disc((50, 66)), 0.80, 0.0, ("unsure",)),
        (disc((50, 110), radius=20), 0.70, 1.0, ("jumped", "area", "appearance", "unsure")),
    ],
)
def test_each_sign_of_drift_is_reported(watch, mask, probability, angle, expected):
    key = torch.tensor([[np.cos(angle), np.sin(angle)]], dtype=torch.float32)
    found = signs(watch, mask, probability, key)
    assert found.drift == expected
    assert found.key_distance == pytest.approx(0.0 if found.lost else 1 - np.cos(angle), abs=1e-6)


def test_a_given_mask_is_a_new_reference_and_not_drift(watch):
    turned = torch.tensor([[0.0, 1.0]])
    assert signs(watch, disc((20, 20), radius=4), 0.9, turned).drift == ("jumped", "area", "appearance")
    assert signs(watch, disc((70, 120), radius=20), 0.5, turned, given=[3]).drift == ()
    assert signs(watch, disc((70, 121), radius=20), 0.9, turned).drift == ()
    assert signs(watch, disc((70, 122), radius=20), 0.9, KEY).drift == ()  # the first reference is still used


def test_a_reappearing_object_is_not_reported_as_a_jump(watch):
    assert signs(watch, np.zeros((100, 160), np.uint8)).drift == ("lost",)
    assert signs(watch, disc((50, 140))).drift == ()


def test_keys_are_those_of_the_objects_own_tokens():
    key = torch.zeros(1, 2, 4, 6)
    key[:, 0, :, :3], key[:, 1, :, 3:] = 5.0, 2.0
    prob = torch.zeros(3, 64, 96)
    prob[1, 16:48, 8:40], prob[2, 16:48, 64:] = 1.0, 1.0
    found = mean_keys(key, prob)
    torch.testing.assert_close(found, torch.eye(2))
    assert mean_keys(key, torch.zeros(2, 64, 96)).tolist() == [[0.0, 0.0]]


def test_frames_with_signs_become_episodes():
    summary = DriftSummary()
    for number in range(40):
        drift = {1: ("unsure",) if number in (3, 4, 8, 20) else (), 2: ("lost",) if number >= 30 else ()}
        drift[1] += ("area",) if number == 8 else ()
        summary.add(f"{number:05}", {i: ObjectConfidence(1, 0.9, False, 0.0, found) for i, found in drift.items()})
    assert [(one["object"], one["first"], one["last"], one["frames"]) for one in summary.episodes()] == [
        (1, "00003", "00008", 3), (1, "00020", "00020", 1), (2, "00030", "00039", 10),
    ]  # fmt: skip
    assert describe(summary.episodes()) == [
        "object 1 may have drifted in 00003-00008 (unsure, area), 00020 (unsure)",
        "object 2 may have drifted in 00030-00039 (lost)",
    ]
    assert describe_briefly(summary.episodes()) == "signs of drift: object 1 (4 frames), object 2 (10 frames)"
    assert describe_briefly([]) == ""


def test_only_the_longest_episodes_are_reported():
    episodes = [
        {"object": 1, "first": f"{10 * i}", "last": f"{10 * i + i}", "frames": i + 1, "signs": ["unsure"]}
        for i in range(7)
    ]
    (line,) = describe(episodes)
    assert "0 (unsure)" not in line.split(", ")[0]
    assert line.endswith("60-66 (unsure) and 3 more")


def test_a_run_reports_where_an_object_drifted(tmp_path):
    """The second half of the clip shows a different scene, without the object."""
    example = ROOT / "examples" / "clip"
    (tmp_path / "scene").mkdir()
    for number in range(8):
        path = tmp_path / "scene" / f"{number:05}.png"
        picture = Image.open(example / "JPEGImages" / "scene" / f"{number:05}.jpg")
        if number >= 4:
            picture = Image.new("RGB", picture.size, (90, 120, 80))
        picture.save(path)
    shutil.copy(example / "Annotations" / "scene" / "00000.png", tmp_path / "first.png")
    settings = ("data.size=96", "runtime.threads=1", "output.overlay=false", "score=false")
    done = in_process("eval.py", "video_dir=scene", "mask=first.png", "output_dir=out", *settings, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "may have drifted in 00004-00007 (" in done.stderr
    assert "1 video with signs of drift: see confidence/<video>.csv, column drift" in done.stderr
    rows = list(csv.DictReader((tmp_path / "out/confidence/scene.csv").open()))
    flagged = {row["frame"] for row in rows if row["drift"]}
    assert {"00004", "00005", "00006", "00007"} <= flagged
    assert "00000" not in flagged
    episodes = json.loads((tmp_path / "out/run.json").read_text())["videos"]["scene"]["drift"]
    assert {"object", "first", "last", "frames", "signs"} == set(episodes[0])
