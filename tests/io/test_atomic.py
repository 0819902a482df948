"""Staged results under kills at every moment: never half of a file or folder under its final name."""

import os

import pytest
from kills import each_kill

from xmem_infer.io.atomic import Staged, write_json, write_whole

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")


def make(final, content):
    """A folder of three files, as outputs make theirs."""
    staged = Staged(final)
    staged.prepare()
    staged.partial.mkdir()
    for name in "abc":
        (staged.partial / name).write_text(content)
    staged.publish()


def found(final):
    """What the folder holds, by name; None where it is not there."""
    return {path.name: path.read_text() for path in final.iterdir()} if final.exists() else None


def hidden(folder):
    return [path for path in folder.rglob(".*")]


OLD, NEW = dict.fromkeys("abc", "old"), dict.fromkeys("abc", "new")


@pytest.mark.fault("SIGKILL at any step of replacing a folder", "the folder is completely old or completely new")
def test_a_replaced_folder_is_the_old_one_or_the_new(tmp_path):
    seen = []
    for place in each_kill(tmp_path, lambda at: make(at / "x", "new"), lambda at: make(at / "x", "old")):
        seen.append(found(place / "x"))
        assert seen[-1] in (OLD, NEW, None)
        if seen[-1]:
            Staged(place / "x").final.rename(place / "taken")  # by its user, who wants it elsewhere
            Staged(place / "x").prepare()
            assert found(place / "x") in (OLD, None)  # one that was half removed does not come back
        else:
            Staged(place / "x").prepare()
            assert found(place / "x") == OLD
        make(place / "x", "newest")
        assert found(place / "x") == dict.fromkeys("abc", "newest")
        assert not hidden(place)
    assert seen[0] == OLD and seen[-1] == NEW and None in seen


@pytest.mark.fault("SIGKILL at any step of deleting a folder", "the folder is either complete or absent")
def test_a_withdrawn_folder_is_whole_or_gone(tmp_path):
    def before(place):
        make(place / "x", "old")
        make(place / ".x.old", "older")  # which a kill left

    seen = []
    for place in each_kill(tmp_path, lambda at: Staged(at / "x").withdraw(), before):
        seen.append(found(place / "x"))
        assert seen[-1] in (OLD, None)
        Staged(place / "x").prepare()
        assert found(place / "x") == seen[-1]  # nothing older comes back
        assert not hidden(place)
    assert seen[0] == OLD and seen[-1] is None


@pytest.mark.fault("SIGKILL at any step of replacing a file", "the file is completely old or completely new")
def test_a_replaced_file_is_the_old_one_or_the_new(tmp_path):
    seen = []
    for place in each_kill(tmp_path, lambda at: write_json(at / "x", 2), lambda at: write_json(at / "x", 1)):
        seen.append((place / "x").read_text())
        write_whole(place / "x", lambda to: to.write_text("newest"))
        assert not hidden(place)
    assert set(seen) == {"1\n", "2\n"}
