"""Kill a process before each of its disk changes in turn: the project opens again with all acknowledged changes."""

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
    """A project, and a script of operations of all kinds."""

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
            lambda: self.remove_reference(0),
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
            step.put_mask(index, ids, {})

    def remove_reference(self, index):
        with self.project.change() as step:
            step.put_reference(index, None)

    def propagate(self):
        self.step = self.project.open_step()

    def snapshot(self):
        """Return all that a user sees: the document, and the bytes of masks and references."""
        files = [*self.project.masks.glob("*.png"), *self.project.references.glob("*.png")]
        return self.project.document, {str(path): path.read_bytes() for path in files}


def check_consistent(work):
    """Check that all steps can be undone and redone, and that another step can be added."""
    snapshot, steps = work.snapshot(), 0
    while work.project.undo():
        steps += 1
    for _ in range(steps):
        assert work.project.redo()
    assert work.snapshot() == snapshot
    while work.project.redo():
        pass
    work.edit(3)
    assert work.project.undo() and work.project.redo()
    assert all(path.name.isdecimal() for path in work.project.history.iterdir())


@pytest.fixture
def folder(tmp_path):
    """A temporary folder, in memory if possible, because tens of thousands of files are created and deleted."""
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else tmp_path) as path:
        yield Path(path)


@pytest.mark.slow
@pytest.mark.fault("kill -9 before any disk change in the page's project", "no acknowledged action is lost")
def test_a_project_killed_before_any_disk_change_opens_again(clip, folder, monkeypatch):
    monkeypatch.setattr(project_module, "MAX_STEPS", 3)  # so that old steps are dropped
    work, copy, kills = Work(folder / "project", clip), folder / "copy", 0
    for operation in work.script():
        shutil.copytree(work.folder, copy)
        before, states, is_over = work.snapshot(), [], False
        while not is_over:
            is_over = run_killed(operation, kill_before=len(states))
            killed = Work(work.folder, clip)
            states.append(killed.snapshot())
            check_consistent(killed)
            shutil.rmtree(work.folder)
            shutil.copytree(copy, work.folder)
        operation()
        after = work.snapshot()
        assert states[-1] == after  # the operation was acknowledged
        assert all(state in (before, after) for state in states)
        shutil.rmtree(copy)
        kills += len(states) - 1
    assert kills > 300
