"""Staged results under kills at every step: no partial file or folder has its final name."""

import os

import pytest
from kills import each_kill

from xmem_infer.io.atomic import Staged, write_json, write_whole

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")


def make(final, content):
    """Write a folder of three files as the outputs do."""
    staged = Staged(final)
    staged.prepare()
    staged.partial.mkdir()
    for name in "abc":
        (staged.partial / name).write_text(content)
    staged.publish()


def found(final):
    """Return the file contents of a folder by name, or None if the folder does not exist."""
    return {path.name: path.read_text() for path in final.iterdir()} if final.exists() else None


def hidden(folder):
    return [path for path in folder.rglob(".*")]


OLD, NEW = dict.fromkeys("abc", "old"), dict.fromkeys("abc", "new")


@pytest.mark.fault("SIGKILL at any step of replacing a folder", "the folder is completely old or completely new")
def test_replacing_a_folder_is_atomic(tmp_path):
    seen = []
    for place in each_kill(tmp_path, lambda at: make(at / "x", "new"), lambda at: make(at / "x", "old")):
        seen.append(found(place / "x"))
        assert seen[-1] in (OLD, NEW, None)
        if seen[-1]:
            Staged(place / "x").final.rename(place / "taken")  # the user moves the result elsewhere
            Staged(place / "x").prepare()
            assert found(place / "x") in (OLD, None)  # a partly deleted folder is not restored
        else:
            Staged(place / "x").prepare()
            assert found(place / "x") == OLD
        make(place / "x", "newest")
        assert found(place / "x") == dict.fromkeys("abc", "newest")
        assert not hidden(place)
    assert seen[0] == OLD and seen[-1] == NEW and None in seen


@pytest.mark.fault("SIGKILL at any step of deleting a folder", "the folder is either complete or absent")
def test_deleting_a_folder_is_atomic(tmp_path):
    def before(place):
        make(place / "x", "old")
        make(place / ".x.old", "older")  # left by a kill

    seen = []
    for place in each_kill(tmp_path, lambda at: Staged(at / "x").withdraw(), before):
        seen.append(found(place / "x"))
        assert seen[-1] in (OLD, None)
        Staged(place / "x").prepare()
        assert found(place / "x") == seen[-1]  # no older version is restored
        assert not hidden(place)
    assert seen[0] == OLD and seen[-1] is None


@pytest.mark.fault("SIGKILL at any step of replacing a file", "the file is completely old or completely new")
def test_replacing_a_file_is_atomic(tmp_path):
    seen = []
    for place in each_kill(tmp_path, lambda at: write_json(at / "x", 2), lambda at: write_json(at / "x", 1)):
        seen.append((place / "x").read_text())
        write_whole(place / "x", lambda to: to.write_text("newest"))
        assert not hidden(place)
    assert set(seen) == {"1\n", "2\n"}
