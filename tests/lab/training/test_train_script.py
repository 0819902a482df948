"""`scripts/train.py` as its users run it: refusals, stopping, going on, exit codes."""

import json
import re
import signal
import tarfile
import time

import pytest
from commands import ROOT, begun, in_process
from filelock import FileLock
from lab.training.small_pack import write_pack

SMALL = (
    "device=cpu", "threads=1", "workers=0", "network.key_blocks=[1,1,1]", "network.key_widths=[8,16,32]",
    "network.value_blocks=[1,1,1]", "network.value_widths=[8,16,32]", "network.decoder=[32,16,16]",
    "network.key_dim=16", "network.value_dim=32", "network.hidden_dim=8", "network.sensory_dim=16",
    "stages=[{until:100,size:64,frames:3,batch:2,real:0.5}]", "run_dir=run",
)  # fmt: skip


def run(folder, *overrides, by=in_process):
    return by("train.py", *SMALL, *overrides, cwd=folder)


@pytest.fixture(scope="module")
def tar(tmp_path_factory):
    return write_pack(tmp_path_factory.mktemp("pack") / "train.tar")


def test_a_stopped_run_is_saved_and_goes_on(tmp_path, tar):
    endless = (f"data_packs=[{tar}]", "optim.total_samples=1000000", "optim.cooldown_from=1000000")
    decoded = tmp_path / "run" / "loss.jsonl"
    with run(tmp_path, *endless, by=begun) as process:
        for _ in range(3000):
            if decoded.exists() and decoded.read_text():
                break
            time.sleep(0.1)
        process.send_signal(signal.SIGTERM)
        _, said = process.communicate(timeout=120)
    assert process.returncode == 143, said
    assert "Traceback" not in said
    (saved,) = (tmp_path / "run" / "checkpoints").iterdir()
    seen = json.loads((saved / "counters.json").read_text())["seen"]
    assert seen >= 40  # twenty steps make a line
    total = f"optim.total_samples={seen + 4}"
    done = run(tmp_path, f"data_packs=[{tar}]", total, "optim.cooldown_from=20")
    assert done.returncode == 0, done.stderr
    assert f"resumed at {seen} samples" in done.stdout
    assert f"{seen + 4} samples seen" in done.stdout


def test_what_changed_since_the_run_began_is_said(tmp_path, tar):
    short = (f"data_packs=[{tar}]", "optim.total_samples=2", "optim.cooldown_from=2")
    assert "changed" not in run(tmp_path, *short).stdout
    done = run(tmp_path, *short[:1], "optim.total_samples=4", "optim.cooldown_from=2", "seed=1")
    assert "settings that changed since the run began: seed, optim" in done.stdout
    assert "4 samples seen" in done.stdout


@pytest.mark.fault("two training processes for one run", "the second one ends with an error")
def test_a_second_process_on_a_run_is_refused(tmp_path, tar):
    (tmp_path / "run").mkdir()
    with FileLock(tmp_path / "run" / ".lock"):
        done = run(tmp_path, f"data_packs=[{tar}]")
    assert done.returncode == 3, done.stderr
    assert "another process trains" in done.stderr


@pytest.mark.fault("`train.py` without settings", "error lists the required settings with an example")
def test_without_arguments_it_says_what_to_give(tmp_path):
    done = in_process("train.py", cwd=tmp_path)
    assert done.returncode == 2, done.stderr
    assert "data_packs and run_dir are not set" in done.stderr
    assert "python scripts/train.py data_packs=[" in done.stderr


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["optim.warm_up=1"], "Did you mean optim.warmup"),
        ([], "data_packs"),
        (["data_packs=[nowhere.tar]"], "nowhere.tar is no file"),
        (["data_packs=[README]"], "is not a complete tar file"),
        (["data_packs=[TAR]", "validation=nowhere"], "nowhere"),
        (["data_packs=[TAR]", "export=file.safetensors"], "null without validation"),
        (["data_packs=[TAR]", "stages=[]"], "at least one entry"),
        (["data_packs=[CUT]"], "is not a complete tar file"),
        (["data_packs=[EMPTY]"], "holds no picture with a mask"),
        (["data_packs=[TAR]", "start=nowhere.pth"], "nowhere.pth"),
    ],
)
@pytest.mark.fault("`train.py {overrides}`", "error before anything is written")
def test_wrong_requests_are_refused(tmp_path, tar, overrides, words):
    cut = tmp_path / "cut.tar"
    cut.write_bytes(tar.read_bytes()[:100_000])
    empty = tmp_path / "empty.tar"
    tarfile.open(empty, "w").close()
    packs = {"TAR": tar, "CUT": cut, "EMPTY": empty, "README": ROOT / "README.md"}
    done = run(
        tmp_path, *(re.sub("TAR|CUT|EMPTY|README", lambda name: str(packs[name[0]]), text) for text in overrides)
    )
    assert done.returncode == (3 if "start=nowhere.pth" in overrides else 2), done.stderr
    assert words in done.stderr
    assert not (tmp_path / "run").exists()
    assert "Traceback" not in done.stderr
