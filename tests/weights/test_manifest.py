"""The list of published files, and the resolution of names to paths."""

import hashlib
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import xmem_infer
from xmem_infer.errors import WeightsError
from xmem_infer.weights import manifest as room
from xmem_infer.weights.manifest import (
    PUBLISHED,
    WeightsEntry,
    download_folder,
    embedded_model,
    find_entry,
    require_hash,
    resolve_weights,
    weights_folders,
)

NAMES = ["XMem.pth", "XMem-s012.pth", "XMem-s2.pth", "XMem-no-sensory.pth"]
NAMES += [f"cutie-{size}-{data}.pth" for size in ("base", "small") for data in ("mega", "wmose", "nomose")]


@pytest.fixture
def places(tmp_path, monkeypatch):
    """The three search folders in order, empty: of the checkout, the current directory and the cache."""
    checkout = tmp_path / "checkout" / "weights"
    checkout.mkdir(parents=True)
    monkeypatch.setattr(room, "models_folder", lambda: checkout)
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("XMEM_INFER_WEIGHTS", raising=False)
    folders = [checkout, here / "weights", tmp_path / "cache" / "xmem_infer"]
    assert weights_folders() == folders
    return folders


def put(folder, name="XMem.pth"):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).touch()
    return folder / name


def test_published_files_are_listed():
    assert [entry.name for entry in PUBLISHED] == NAMES
    for entry in PUBLISHED:
        project = "Cutie" if entry.name.startswith("cutie") else "XMem"
        assert entry.url == f"https://github.com/hkchengrex/{project}/releases/download/v1.0/{entry.name}"
        assert entry.approx_bytes < entry.max_bytes
        assert entry.description


@pytest.mark.parametrize("name", ["XMem", "XMem.pth", "xmem", "XMEM.PTH"])
def test_names_are_found_in_any_case_with_or_without_suffix(name):
    assert find_entry(name).name == "XMem.pth"
    assert find_entry(name + "x") is None


def test_folders_are_searched_in_the_documented_order(places):
    expected = [put(folder) for folder in places]
    for folder, path in zip(places, expected, strict=True):
        assert resolve_weights("xmem") == path
        (folder / "XMem.pth").unlink()
    with pytest.raises(WeightsError):
        resolve_weights("xmem")


def test_the_environment_variable_replaces_all_folders(places, tmp_path, monkeypatch):
    put(places[0])
    monkeypatch.setenv("XMEM_INFER_WEIGHTS", str(tmp_path / "own"))
    assert weights_folders() == [tmp_path / "own"]
    assert download_folder() == tmp_path / "own"
    with pytest.raises(WeightsError, match="own"):
        resolve_weights("XMem")
    assert resolve_weights("auto" if put(tmp_path / "own") else "") == tmp_path / "own" / "XMem.pth"


def test_downloads_go_to_the_checkout_even_from_inside_it(places, monkeypatch):
    assert download_folder() == places[0]
    monkeypatch.chdir(places[0].parent)
    assert weights_folders() == [places[0], places[2]]
    assert download_folder() == places[0]


def test_paths_are_used_unchanged_and_files_precede_names(places, monkeypatch):
    put(places[0])
    own = put(Path.cwd() / "mine", "XMem.pth")
    assert resolve_weights("mine/XMem.pth") == Path("mine/XMem.pth")
    monkeypatch.chdir(own.parent)
    assert resolve_weights("XMem.pth") == Path("XMem.pth")
    assert resolve_weights("XMem") == places[0] / "XMem.pth"


@pytest.mark.parametrize("name", ["none/such.pth", "such.safetensors", "/none/such", "."])
def test_absent_paths_are_left_to_the_reader(places, name):
    assert resolve_weights(name) == Path(name)


def test_tilde_is_expanded(places, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    own = put(tmp_path / "mine", "own.pth")
    assert resolve_weights("~/mine/own.pth") == own


def test_the_error_for_absent_published_files_says_how_to_get_them(places):
    with pytest.raises(WeightsError) as caught:
        resolve_weights("xmem-S2")
    for phrase in ("XMem-s2.pth is not on this machine", "xmem-infer download XMem-s2.pth", *map(str, places)):
        assert phrase in str(caught.value)


def test_the_error_for_unknown_names_lists_the_known_ones(places):
    with pytest.raises(WeightsError) as caught:
        resolve_weights("XMem-s12")
    for phrase in ("XMem-s12", "did you mean XMem-s012?", *NAMES, "auto"):
        assert phrase in str(caught.value)
    with pytest.raises(WeightsError) as caught:
        resolve_weights("zebra")
    assert "did you mean" not in str(caught.value)


def test_auto_uses_the_embedded_model_if_nothing_else_is_installed(places):
    assert resolve_weights("auto") == resolve_weights("xmem-tiny") == embedded_model()


def test_the_embedded_model_exists_and_is_small():
    assert embedded_model().stat().st_size < 16_000_000


def test_auto_follows_the_order_of_the_manifest_not_of_folders(places):
    second = put(places[0], "XMem-s012.pth")
    assert resolve_weights("auto") == second
    first = put(places[2], "XMem.pth")
    assert resolve_weights("AUTO") == first


def test_a_pinned_hash_takes_precedence_over_a_recorded_one(places, monkeypatch):
    right, wrong = (hashlib.sha256(text).hexdigest() for text in (b"right", b"wrong"))
    path = put(places[1])
    (path.parent / "XMem.pth.sha256").write_text(f"{wrong}  XMem.pth\n")
    pinned = WeightsEntry("XMem.pth", "d", sha256=right)
    assert "manifest.py" in require_hash(path, right, pinned)
    with pytest.raises(WeightsError) as caught:
        require_hash(path, wrong, pinned)
    assert right in str(caught.value)
    assert wrong in str(caught.value)
    assert "XMem.pth.sha256" in require_hash(path, wrong, None)

    monkeypatch.setattr(room, "PUBLISHED", (pinned,))
    with pytest.raises(WeightsError, match=right):
        require_hash(path, wrong)


def test_an_installed_wheel_finds_its_embedded_model(tmp_path):
    """Copies the package and the embedded model out of the checkout, in the layout of an installed wheel."""
    source = Path(xmem_infer.__file__).parent
    package = tmp_path / "xmem_infer"
    for name in ("errors.py", "user_cache.py", "weights/__init__.py", "weights/manifest.py"):
        (package / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(source / name, package / name)
    (package / "__init__.py").touch()
    shutil.copy(embedded_model(), package / "weights")
    code = (
        "from xmem_infer.weights.manifest import *\n"
        "print(embedded_model(), download_folder(), len(weights_folders()), len(PUBLISHED))"
    )
    environment = {"PYTHONPATH": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path / "cache"), "PATH": ""}
    run = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True, check=True
    )
    assert run.stdout.split() == [
        str(package / "weights" / "xmem-tiny.safetensors"), str(tmp_path / "cache" / "xmem_infer"), "2", "10",
    ]  # fmt: skip
