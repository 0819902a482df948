"""Edits: objects, absences, references, ranges, undo, a second tab, export, and projects created from runs."""

import io
import json
import sys
import zipfile

import numpy as np
import pytest
from conftest import FRAMES, labels, square
from PIL import Image

from xmem_infer.cli.commands import run
from xmem_infer.config import DataConfig, EvalConfig, MemoryConfig
from xmem_infer.errors import EnvironmentFault, UsageError, VideoError
from xmem_infer.io.atomic import locked
from xmem_infer.io.frames import open_frames
from xmem_infer.page.command import PageConfig, adopted, page
from xmem_infer.page.project import Project

ALL = range(FRAMES)


def two_objects(index=0):
    ids = square(index)
    ids[40:60, 60:90] = 2
    return ids


def snapshot(page):
    state = page.state()
    parts = {key: state[key] for key in ("objects", "references", "absent", "frames")}
    return parts | {"masks": {index: page.mask(index).tobytes() for index in state["frames"]}}


def tracked(page, tab):
    page.put(0, two_objects())
    tab.propagated()


def test_objects_are_named_coloured_and_removed(serve):
    with serve() as page, page.tab() as tab:
        assert tab.do("add_object", name="cup")["result"] == 1
        tab.do("change_object", object_id=1, colour="#FF8800")
        tracked(page, tab)
        tab.do("change_object", object_id=2, name="hand")
        assert [one["name"] for one in page.state()["objects"]] == ["cup", "hand"]
        assert page.state()["objects"][0]["colour"] == "#ff8800"
        before = snapshot(page)
        tab.do("remove_object", object_id=2)
        after = page.state()
        assert [one["id"] for one in after["objects"]] == [1]
        for index in ALL:
            assert 2 not in page.mask(index) and "2" not in after["frames"][str(index)]["confidence"]
        assert 2 not in np.array(Image.open(page.folder / "references" / "00000.png"))
        tab.do("undo")
        assert snapshot(page) == before
        assert tab.do("add_object")["result"] == 3


def test_an_absence_clears_its_frames_and_propagation_respects_it(serve):
    with serve() as page, page.tab() as tab:
        tracked(page, tab)
        tab.do("set_absent", object_id=1, first=2, last=3, absent=True)
        tab.do("set_absent", object_id=1, first=4, last=4, absent=True)
        assert page.state()["absent"] == {"1": [[2, 4]]}
        for _ in range(2):
            assert [1 in page.mask(index) for index in (2, 3, 4)] == [False] * 3
            tab.propagated()
        tab.do("set_absent", object_id=1, first=3, last=3, absent=False)
        assert page.state()["absent"] == {"1": [[2, 2], [4, 4]]}
        page.put(4, two_objects(4), params={"object": "1"})
        assert page.state()["absent"] == {"1": [[2, 2]]}
        page.put(5, square(5), params={"object": "1,2"})
        assert page.state()["absent"] == {"1": [[2, 2]], "2": [[5, 5]]}


def test_frames_outside_the_range_are_unchanged(serve):
    with serve() as page, page.tab() as tab:
        tracked(page, tab)
        before = [(page.folder / "masks" / "clip" / f"{index:05d}.png").read_bytes() for index in ALL]
        page.put(3, two_objects(3))
        masks = tab.propagated("both", 2, 4)
        assert {event["index"] for event in masks} == {2, 3, 4}
        after = [(page.folder / "masks" / "clip" / f"{index:05d}.png").read_bytes() for index in ALL]
        assert [index for index in ALL if after[index] == before[index]] == [0, 1, 5]


def test_removing_a_reference_keeps_its_mask(serve):
    with serve() as page, page.tab() as tab:
        page.put(2, square(2))
        tab.do("remove_reference", index=2)
        assert page.state()["references"] == [] and (page.mask(2) == square(2)).all()
        assert list(page.state()["frames"]) == ["2"]
        assert "paint one first" in tab.do("propagate", direction="both", first=0, last=5)["message"]
        assert not list((page.folder / "references").glob("*.png"))
        tab.do("undo")
        assert page.state()["references"] == [2]


class Unreadable:
    def __init__(self, frames):
        self.frames = frames

    def __getattr__(self, name):
        return getattr(self.frames, name)

    def __len__(self):
        return len(self.frames)

    def __getitem__(self, index):
        raise VideoError(f"frame {index} cannot be read")


def test_a_propagation_without_results_adds_no_undo_step(serve):
    with serve() as page, page.tab() as tab:
        page.put(0, square(0))
        page.put(0, square(0, 2))
        tab.do("undo")
        page.session.frames = Unreadable(page.session.frames)
        tab.do("propagate", direction="forward", first=0, last=5)
        assert "cannot be read" in tab.until(lambda event: event["event"] == "error")["message"]
        assert page.state()["redo"], "the undone step can still be redone"
        tab.do("undo")
        assert page.state()["frames"] == {}


def test_a_stopped_propagation_keeps_its_masks_as_one_undo_step(serve):
    with serve() as page, page.tab() as tab:
        page.put(0, square(0))
        before = snapshot(page)
        tab.do("propagate", direction="forward", first=0, last=5)
        tab.until(lambda event: event["event"] == "mask" and event["index"] == 1)
        tab.do("stop")
        assert page.state()["running"] is None and "1" in page.state()["frames"]
        tab.do("undo")
        assert snapshot(page) == before


def test_a_second_tab_follows_the_first(serve):
    with serve() as page, page.tab() as first, page.tab() as second:
        first.do("add_object", name="cup")
        # a state event is also sent at an arbitrary moment, when the network has been loaded
        event = second.until(lambda event: event["event"] == "state" and event["state"]["objects"])
        assert event["state"]["objects"][0]["name"] == "cup" and "frames" not in event["state"]
        page.put(0, square(0))
        assert list(second.until(lambda event: event["event"] == "state" and event["frames"])["frames"]) == ["0"]
        first.do("goto", index=4)
        assert second.until(lambda event: event["event"] == "goto")["index"] == 4
        first.propagated()
        second.until(lambda event: event["event"] == "progress" and not event["running"])
        assert {event["index"] for event in second.events if event["event"] == "mask"} >= set(range(1, FRAMES))
        assert not any(event["event"] == "goto" for event in first.events)


def test_suggesting_a_mask_stores_nothing(serve):
    with serve() as page, page.tab() as tab:
        tracked(page, tab)
        before = snapshot(page)
        arguments = {"object_id": 1, "box": [5, 5, 40, 40], "clicks": [[20, 20, 1]]}
        answer = page.client.post("/api/suggest/0", json=arguments)
        assert answer.status_code == 200, answer.text
        proposed = labels(answer)
        assert set(np.unique(proposed)) <= {0, 1}
        assert ((proposed > 0) & (square(0) > 0)).sum() > 0.7 * (square(0) > 0).sum()
        assert snapshot(page) == before
        suggestion = tab.do("next_to_fix")["result"]
        assert suggestion["index"] in range(1, FRAMES) and suggestion["reason"]


def export_ended(event):
    return event["event"] == "export" and ("file" in event or "error" in event)


def test_an_export_is_downloaded(serve):
    with serve() as page, page.tab() as tab:
        tracked(page, tab)
        formats = [one["format"] for one in page.state()["exports"]]
        assert "format=magic" in tab.do("export", format="magic", job=1)["message"]
        for number, kind in enumerate(formats[:2], 1):
            before = len(tab.events)
            assert tab.do("export", format=kind, job=number)["event"] == "done"
            event = next(filter(export_ended, tab.events[before:]), None) or tab.until(export_ended)
            answer = page.client.get(f"/api/export/{number}")
            assert event["file"] in answer.headers["content-disposition"] and len(answer.content) > 100
            if event["file"].endswith(".zip"):
                assert len(zipfile.ZipFile(io.BytesIO(answer.content)).namelist()) >= 1
        assert page.client.get("/api/export/9").status_code == 404


def test_a_reopened_project_is_unchanged(serve):
    with serve() as page, page.tab() as tab:
        tracked(page, tab)
        tab.do("add_object", name="cup")
        tab.do("undo")
        before, folder = snapshot(page), page.folder
    with serve(folder) as page, page.tab() as tab:
        after = snapshot(page)
        assert {**after, "frames": None} == {**before, "frames": None}
        assert [one["version"] for one in after["frames"].values()] == [
            one["version"] for one in before["frames"].values()
        ]
        tab.do("redo")
        assert page.state()["objects"][-1]["name"] == "cup"
        for _ in range(3):
            tab.do("undo")
        assert page.state()["frames"] == {} and not page.state()["undo"]


def test_a_project_is_refused_for_another_video(serve, clip, tmp_path):
    with serve() as page:
        page.put(0, square(0))
        folder = page.folder
    other = tmp_path / "other"
    other.mkdir()
    Image.new("RGB", (32, 32)).save(other / "0.png")
    with pytest.raises(UsageError, match="another video"):
        Project(folder, open_frames(other, DataConfig()), other)
    with (
        locked(folder / "records", "this test", "project"),
        pytest.raises(EnvironmentFault),
        locked(folder / "records", "another program", "project"),
    ):
        pass


@pytest.mark.fault("a project folder without any edit yet", "no run writes to it; it can be opened with any video")
def test_an_empty_project_is_recognised_as_a_project(serve, clip, tiny_weights, tmp_path, monkeypatch):
    with serve() as page:
        folder = page.folder
    mask = tmp_path / "mask.png"
    Image.fromarray(two_objects()).save(mask)
    monkeypatch.chdir(tmp_path)
    settings = (f"weights={tiny_weights}", f"video_dir={clip}", f"mask={mask}")
    assert evaluated(monkeypatch, *settings, f"output_dir={folder}") == 2
    other = tmp_path / "other"
    other.mkdir()
    Image.new("RGB", (32, 32)).save(other / "0.png")
    project = Project(folder, open_frames(other, DataConfig()), other)
    assert project.is_new and json.loads((folder / "project.json").read_text())["video"]["path"] == str(other)


@pytest.mark.fault("`project=FOLDER` that holds other files", "refused before anything is written")
def test_a_folder_of_other_files_is_refused(clip, tmp_path):
    (tmp_path / "photo.png").touch()
    with pytest.raises(UsageError, match=r"holds 1 \.png file, and no project"):
        page(PageConfig(video_dir=str(clip), project=str(tmp_path), browser=False))
    assert [path.name for path in tmp_path.iterdir()] == ["photo.png"]


def evaluated(monkeypatch, *settings):
    monkeypatch.setattr(sys, "argv", ["eval.py", "data.size=-1", "runtime.threads=1", *settings])
    return run("eval", EvalConfig, "evaluate.run.evaluate")


def test_the_output_of_a_run_becomes_a_project(serve, clip, tiny_weights, tmp_path, monkeypatch):
    mask = tmp_path / "mask.png"
    Image.fromarray(two_objects()).save(mask)
    monkeypatch.chdir(tmp_path)
    settings = (f"weights={tiny_weights}", f"video_dir={clip}", f"mask={mask}", "output_dir=out")
    assert evaluated(monkeypatch, *settings) == 0
    with serve(tmp_path / "out") as page, page.tab() as tab:
        page.session.adopt(adopted(page.session.project, {}).items())
        state = page.state()
        assert state["references"] == [0] and [one["id"] for one in state["objects"]] == [1, 2]
        assert list(state["frames"]) == [str(index) for index in ALL]
        assert set(state["frames"]["5"]["confidence"]) == {"1", "2"}
        page.put(3, two_objects(3))
        corrected = page.mask(3)
        tab.do("undo")
        assert snapshot(page)["frames"] == state["frames"]
        tab.do("redo")
    assert evaluated(monkeypatch, *settings) == 2  # it would overwrite the corrections
    assert (np.array(Image.open(tmp_path / "out" / "masks" / "clip" / "00003.png")) == corrected).all()


def test_eval_accepts_a_project_as_input(serve, tiny_weights, tmp_path, monkeypatch):
    with serve() as page:
        page.put(2, two_objects(2))
        page.put(0, two_objects(0))
        page.do("set_absent", object_id=1, first=3, last=4, absent=True)
    monkeypatch.chdir(tmp_path)
    assert evaluated(monkeypatch, f"weights={tiny_weights}", "video_dir=clip.project") == 0
    folder = tmp_path / "output" / "clip" / "masks" / "clip"
    masks = [np.array(Image.open(folder / f"{index:05d}.png")) for index in range(FRAMES)]
    for index in (0, 2):
        assert (masks[index] == two_objects(index)).all()
    assert [index for index, mask in enumerate(masks) if 1 not in mask] == [3, 4], "absences of the project"
    assert json.loads((tmp_path / "output" / "clip" / "run.json").read_text())["videos"]


@pytest.mark.parametrize(("key", "value"), [("load", "file"), ("save", "file"), ("late_objects", "published")])
def test_memory_settings_that_the_page_refuses(key, value):
    with pytest.raises(UsageError, match=f"memory.{key}={value} is not possible"):
        PageConfig(memory=MemoryConfig(**{key: value}))
