"""A project killed before each change of the disk in turn: it opens again, and what was acknowledged is there."""

import shutil
import tempfile
from pathlib import Path

import numpy as np
import pytest
from conftest import square
from kills import run_killed

from xmem_infer.config import DataConfig
from xmem_infer.io.frames import open_frames
from xmem_infer.page import project as project_module
from xmem_infer.page.document import with_objects
from xmem_infer.page.project import Project


class Work:
    """A project and a script of changes of all kinds."""

    def __init__(self, folder, clip):
        self.folder, self.clip, self.step = folder, clip, None
        self.project = self.open()

    def open(self):
        return Project(self.folder, open_frames(self.clip, DataConfig(size=-1)), self.clip)

    def script(self):
        undo, redo = (lambda: self.project.undo()), (lambda: self.project.redo())
        put = [lambda index=index: self.step.put_mask(index, square(index, 2), {}) for index in (1, 2, 1)]
        edits = [lambda index=index: self.edit(index) for index in range(4)]
        return [
            edits[0],
            self.propagate,
            *put,
            undo,
            redo,
            lambda: self.take_back(0),
            undo,
            undo,
            edits[2],
            edits[3],
            edits[1],
        ]

    def edit(self, index):
        ids = square(index, 1 + index % 3, (index, 5))
        with self.project.change() as step:
            step.document = with_objects(step.document, np.unique(ids).tolist())
            step.put_reference(index, ids)
            step.put_mask(index, ids, {}, "reference")

    def take_back(self, index):
        with self.project.change() as step:
            step.put_reference(index, None)
            step.put_mask(index, None, {})

    def propagate(self):
        self.step = self.project.open_step()

    def seen(self):
        """What a user has: the document, and the bytes of masks and references."""
        files = [*self.project.masks.glob("*.png"), *self.project.references.glob("*.png")]
        return self.project.document, {str(path): path.read_bytes() for path in files}


def check_sound(work):
    """All of its steps can be taken back, done again, and followed by another."""
    seen, steps = work.seen(), 0
    while work.project.undo():
        steps += 1
    for _ in range(steps):
        assert work.project.redo()
    assert work.seen() == seen
    while work.project.redo():
        pass
    work.edit(3)
    assert work.project.undo() and work.project.redo()
    assert all(path.name.isdecimal() for path in work.project.history.iterdir())


@pytest.fixture
def folder(tmp_path):
    """In memory where that can be had: some ten thousand files are made and deleted."""
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else tmp_path) as made:
        yield Path(made)


@pytest.mark.slow
@pytest.mark.fault("kill -9 before any change of the disk in the page's project", "every acknowledged action is there")
def test_a_project_opens_wherever_it_was_killed(clip, folder, monkeypatch):
    monkeypatch.setattr(project_module, "MAX_STEPS", 3)  # so that steps are forgotten
    work, kept, kills = Work(folder / "project", clip), folder / "kept", 0
    for operation in work.script():
        shutil.copytree(work.folder, kept)
        before, found, is_over = work.seen(), [], False
        while not is_over:
            is_over = run_killed(operation, kill_before=len(found))
            killed = Work(work.folder, clip)
            found.append(killed.seen())
            check_sound(killed)
            shutil.rmtree(work.folder)
            shutil.copytree(kept, work.folder)
        operation()
        after = work.seen()
        assert found[-1] == after  # it was acknowledged
        assert all(state in (before, after) for state in found)
        shutil.rmtree(kept)
        kills += len(found) - 1
    assert kills > 300
