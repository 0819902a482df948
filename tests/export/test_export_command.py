"""`scripts/export.py`: exports and refused requests."""

import json
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import numpy as np
import pytest
from dataset_trees import save_mask
from PIL import Image

from xmem_infer.cli.commands import run
from xmem_infer.config import DataConfig
from xmem_infer.errors import EnvironmentFault, UsageError
from xmem_infer.export.command import ExportConfig
from xmem_infer.export.run import export_masks
from xmem_infer.io.frames import open_frames


def make_video(root, name, count=3, size=(20, 30)):
    """Write frames and masks of a clip in the folders of a batch and its results."""
    for index in range(count):
        frames, masks = root / "frames" / name, root / "run" / "masks" / name
        frames.mkdir(parents=True, exist_ok=True)
        masks.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", size[::-1], (90, 10 * index, 0)).save(frames / f"{index:03d}.png")
        mask = np.zeros(size, np.uint8)
        mask[2:9, index : index + 9] = 1
        save_mask(masks / f"{index:03d}.png", mask)


@pytest.fixture
def batch(tmp_path):
    make_video(tmp_path, "a")
    make_video(tmp_path, "b", size=(24, 24))
    return tmp_path


@pytest.fixture
def command(monkeypatch):
    def call(*arguments):
        monkeypatch.setattr(sys, "argv", ["export.py", *map(str, arguments)])
        return run("export", ExportConfig, "export.command.export")

    return call


def test_every_video_of_a_run_is_exported(batch, command):
    out = f"output_dir={batch}/out"
    assert command(batch / "run", "cutout_png", f"frames={batch}/frames", out, "objects=[1]") == 0
    assert sorted(path.name for path in (batch / "out" / "cutout_png").iterdir()) == ["a", "b"]
    assert len(list((batch / "out" / "cutout_png" / "b").iterdir())) == 3
    assert command(batch / "run", "cvat", out, "names={1:cup}") == 0
    assert 'label="cup"' in (batch / "out" / "cvat" / "a.xml").read_text()


@pytest.mark.fault(
    "`export` with a folder that contains several runs", "error names one of the runs; charts are not taken for masks"
)
def test_charts_of_runs_are_not_taken_for_masks(batch, command, capsys):
    for name in ("scores.json", "scores.png"):
        (batch / "run" / name).write_bytes(b"a report")
    assert command(batch, "coco", f"output_dir={batch}/out") == 2
    assert f"the output of 1 run (run): give the folder of one run, masks={batch}/run" in capsys.readouterr().err
    save_mask(batch / "run" / "masks" / "a" / "scores.png", np.ones((20, 30), np.uint8))
    assert command(batch / "run", "palette", f"output_dir={batch}/out") == 0
    assert (batch / "out" / "palette" / "a" / "scores.png").exists()  # a frame of that name, without a report


def test_objects_that_no_mask_shows_are_named(batch, command, capsys):
    assert command(batch / "run", "coco", f"output_dir={batch}/out", "objects=[1,7]") == 0
    assert capsys.readouterr().err.count("no mask of a shows objects [7]") == 1


def test_a_project_gives_names_and_colours(batch, command):
    objects = [{"id": 1, "name": "mug", "colour": "#102030"}]
    (batch / "run" / "project.json").write_text(json.dumps({"objects": objects}))
    assert command(batch / "run", "cvat", f"output_dir={batch}/out") == 0
    label = ElementTree.parse(batch / "out" / "cvat" / "b.xml").find(".//label")
    assert (label.findtext("name"), label.findtext("color")) == ("mug", "#102030")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["{run}", "cocoa"], ["format=cocoa", "coco"]),
        (["{run}"], ["MASKS FORMAT", "label_studio"]),
        (["{run}", "overlay"], ["frames=VIDEO"]),
        (["{run}", "coco", "names=[cup]"], ["names={1:cup}"]),
        (["{run}/nothing", "coco"], ["does not exist"]),
        (["{run}", "cutout_png", "frames={frames}/a"], ["has no video a", "3 .png files"]),
    ],
)
def test_wrong_requests_are_refused(batch, command, capsys, arguments, words):
    filled = [text.format(run=batch / "run", frames=batch / "frames") for text in arguments]
    assert command(*filled, f"output_dir={batch}/out") == 2
    said = capsys.readouterr().err
    assert all(word in said for word in words), said
    assert not (batch / "out").exists()


def test_an_older_export_stays_without_overwrite(batch, command, capsys):
    arguments = (batch / "run" / "masks" / "a", "palette", f"output_dir={batch}/out")
    assert command(*arguments) == 0
    old = batch / "out" / "palette" / "a" / "000.png"
    old.write_bytes(b"kept")
    assert command(*arguments) == 2
    assert "overwrite=true" in capsys.readouterr().err
    assert old.read_bytes() == b"kept"
    assert command(*arguments, "overwrite=true") == 0
    assert old.read_bytes() != b"kept"


def test_the_masks_themselves_are_never_replaced(batch):
    masks = batch / "palette" / "a"
    (batch / "run" / "masks" / "a").rename(batch / "a")
    masks.parent.mkdir()
    (batch / "a").rename(masks)
    with pytest.raises(UsageError, match="another output_dir"):
        export_masks("palette", masks, batch, overwrite=True)
    assert len(list(masks.iterdir())) == 3


def test_masks_of_other_frames_or_sizes_are_refused(batch):
    masks = batch / "run" / "masks" / "a"
    with pytest.raises(UsageError, match=r"30x20.*24x24"):
        export_masks("coco", masks, batch / "out", open_frames(batch / "frames" / "b", DataConfig()))
    (batch / "frames" / "a" / "001.png").unlink()
    with pytest.raises(UsageError, match=r"1 masks are of frames.*001"):
        export_masks("cutout_png", masks, batch / "out", open_frames(batch / "frames" / "a", DataConfig()))
    assert not (batch / "out").exists()


def test_frames_without_a_mask_have_no_objects_in_videos(batch):
    (batch / "run" / "masks" / "a" / "001.png").unlink()
    frames = open_frames(batch / "frames" / "a", DataConfig())
    made = export_masks("cutout_png", batch / "run" / "masks" / "a", batch / "out", frames)
    assert [np.array(Image.open(path))[..., 3].any() for path in sorted(made.iterdir())] == [True, False, True]
    assert len(list(export_masks("yolo", batch / "run" / "masks" / "a", batch / "out").glob("labels/*"))) == 2


def test_a_missing_package_is_named(batch, monkeypatch):
    monkeypatch.setitem(sys.modules, "pycocotools", None)
    monkeypatch.setitem(sys.modules, "pycocotools.mask", None)
    with pytest.raises(EnvironmentFault, match=r"xmem-infer\[export\]"):
        export_masks("coco", batch / "run" / "masks" / "a", batch / "out")


@pytest.mark.parametrize("kind", ["yolo", "label_studio", "webm_alpha"])
def test_a_stopped_export_leaves_nothing(batch, kind):
    class Stop(Exception):
        pass

    def progress(done, total):
        assert total == 3
        if done == 2:
            raise Stop

    frames = open_frames(batch / "frames" / "a", DataConfig())
    with pytest.raises(Stop):
        export_masks(kind, batch / "run" / "masks" / "a", batch / "out", frames, progress=progress)
    assert not [path for path in Path(batch / "out").rglob("*") if path.is_file()]
