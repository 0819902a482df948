"""executor=processes: same results as in one process, and recovery if workers die."""

import json
import multiprocessing
import os
import signal
import time

import psutil
import pytest
from batch_trees import attempts, leftovers, report, run_config, start, tree, wait_for_attempt, write_set
from logs import logged

from xmem_infer.errors import EnvironmentFault
from xmem_infer.evaluate.run import evaluate


@pytest.fixture
def here(tmp_path, tiny_weights):
    """here(videos, name) -> the folder that a run in this process wrote."""

    def run(videos, name="whole", workers=1, lines=None):
        out = tmp_path / name
        with logged() as said:
            code = evaluate(run_config(videos, out, tiny_weights, workers=workers))
        if lines is not None:
            lines += said
        return code, out

    return run


def test_a_failed_video_is_handled_as_in_one_process(here, tmp_path, make_clip):
    videos = write_set(tmp_path / "set", make_clip, {"a": 3, "b": 9, "c": 5, "d": 4})
    damaged = videos / "JPEGImages" / "c" / "2.png"
    damaged.write_bytes(damaged.read_bytes()[:-200])
    (videos / "Annotations" / "d" / "0.png").unlink()
    said = {"whole": [], "two": []}
    code, whole = here(videos, lines=said["whole"])
    code_two, two = here(videos, "two", workers=2, lines=said["two"])
    assert (code, code_two) == (1, 1)
    assert tree(two) == tree(whole)
    assert leftovers(two) == []
    entries, entries_two = report(whole)["videos"], report(two)["videos"]
    assert list(entries) == list(entries_two) == ["a", "b", "d", "c"]  # in the order of the dataset, failed videos last
    for name in ("c", "d"):
        assert entries_two[name] == entries[name]
        assert entries[name]["status"] == "failed"
    failures = {name: [line for line in lines if line.startswith("failed")] for name, lines in said.items()}
    assert failures["two"] == failures["whole"]
    assert len(failures["two"]) == 2
    assert here(videos, "two", workers=2, lines=said["two"])[0] == 1
    assert sum("already done" in line for line in said["two"]) == 2


def test_faults_of_the_machine_stop_the_batch(here, tmp_path, make_clip):
    videos = write_set(tmp_path / "set", make_clip, {"a": 3, "b": 4})
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "confidence").write_text("in the way")
    with pytest.raises(EnvironmentFault, match="confidence"):
        here(videos, "out", workers=2)
    assert report(tmp_path / "out")["stopped"].startswith("EnvironmentFault")


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="needs SIGKILL")
@pytest.mark.fault("workers killed with SIGKILL, one video three times", "workers are replaced; only that video fails")
def test_killed_workers_are_replaced_a_crashing_video_is_quarantined(here, tmp_path, make_clip, tiny_weights):
    videos = write_set(tmp_path / "set", make_clip, {"short": 4, "once": 150, "deadly": 200})
    out = tmp_path / "out"
    process = start(videos, tiny_weights, out, "workers=2", "output.overlay=false", "output.preview=false")
    wanted = {("deadly", 1), ("once", 1), ("deadly", 2), ("deadly", 3)}  # in any order; every kill must happen
    while wanted:
        assert process.poll() is None, process.communicate()[1]
        for video, number in [one for one in wanted if len(attempts(out, one[0])) >= one[1]]:
            os.kill(attempts(out, video)[number - 1], signal.SIGKILL)
            wanted.remove((video, number))
        time.sleep(0.01)
    said = process.communicate(timeout=120)[1]
    assert process.returncode == 1, said
    assert "once: its worker died (killed by SIGKILL" in said
    videos_done = report(out)["videos"]
    assert (videos_done["short"]["status"], videos_done["once"]["status"]) == ("done", "done")
    assert videos_done["once"]["attempts"] == 2
    assert videos_done["deadly"]["status"] == "quarantined"
    assert "died 3 times" in videos_done["deadly"]["error"]
    assert leftovers(out) == []
    assert not (out / "masks" / "deadly").exists()

    again = start(videos, tiny_weights, out, "output.overlay=false", "output.preview=false")
    said = again.communicate(timeout=120)[1]
    assert (again.returncode, said.count("already done")) == (0, 2)
    _, whole = here(videos)
    kept = {path: content for path, content in tree(whole).items() if path.startswith(("masks", "confidence"))}
    assert {path: content for path, content in tree(out).items() if not path.startswith("records")} == kept


@pytest.mark.skipif(os.name != "posix", reason="needs signals")
@pytest.mark.fault("workers die before they start processing", "run ends with an error message")
def test_workers_that_cannot_start_end_the_run(here, tmp_path, make_clip, monkeypatch):
    """As if memory were too small to load the network: the run ends after three deaths in a row."""
    from xmem_infer.evaluate.executors import processes

    videos = write_set(tmp_path / "set", make_clip, {"a": 3, "b": 4})
    monkeypatch.setattr(processes, "serve", doomed)
    with pytest.raises(EnvironmentFault, match=r"3 workers in a row died.*exit code 9.*fewer than workers=2"):
        here(videos, "out", workers=2)
    assert leftovers(tmp_path / "out") == []


@pytest.mark.skipif("forkserver" not in multiprocessing.get_all_start_methods(), reason="needs a fork server")
@pytest.mark.parametrize("times", [pytest.param(1, marks=pytest.mark.slow), 9])
@pytest.mark.fault(
    "fork server killed while it starts a worker",
    "it is restarted; if killed again and again, the run ends with an error",
)
def test_a_fork_server_killed_while_it_starts_a_worker(here, tmp_path, make_clip, monkeypatch, times):
    """Killed once, it is restarted; killed every time, the run ends with an error message."""
    from multiprocessing import forkserver

    connect, kills = forkserver.connect_to_new_process, []

    def killed_first(fds):
        if len(kills) == times:
            return connect(fds)
        server = forkserver._forkserver
        kills.append(server._forkserver_pid)
        os.kill(kills[-1], signal.SIGKILL)
        os.waitid(os.P_PID, kills[-1], os.WEXITED | os.WNOWAIT)
        with monkeypatch.context() as patch:
            patch.setattr(server, "ensure_running", lambda: None)  # as if the kill came just after the check
            return connect(fds)

    videos = write_set(tmp_path / "set", make_clip, {"a": 3, "b": 4})
    monkeypatch.setattr(forkserver, "connect_to_new_process", killed_first)
    if times == 1:
        assert here(videos, "out", workers=2)[0] == 0
    else:
        with pytest.raises(EnvironmentFault, match=r"3 workers in a row died.*forks workers was killed"):
            here(videos, "out", workers=2)
    assert leftovers(tmp_path / "out") == []


def doomed(*_):
    os._exit(9)


@pytest.mark.skipif(os.name != "posix", reason="needs signals")
@pytest.mark.fault("run with workers killed with SIGKILL", "no worker process is left running")
def test_a_killed_run_leaves_no_worker_behind(tmp_path, make_clip, tiny_weights):
    videos = write_set(tmp_path / "set", make_clip, {"a": 120, "b": 119})
    out = tmp_path / "out"
    process = start(videos, tiny_weights, out, "workers=2")
    workers = [wait_for_attempt(process, out, video) for video in ("a", "b")]
    process.kill()
    process.communicate()
    deadline = time.monotonic() + 60
    while [worker for worker in workers if alive(worker)]:
        assert time.monotonic() < deadline
        time.sleep(0.05)


def alive(number):
    try:
        return psutil.Process(number).status() != psutil.STATUS_ZOMBIE  # in some containers nobody reaps zombies
    except psutil.NoSuchProcess:
        return False


def test_attempts_of_a_killed_run_are_not_counted(here, tmp_path, make_clip):
    videos = write_set(tmp_path / "set", make_clip, {"a": 3, "b": 4})
    folder = tmp_path / "out" / "records" / "attempts"
    folder.mkdir(parents=True)
    (folder / "a.json").write_text(json.dumps(["process 1 on a, then"] * 3))
    code, out = here(videos, "out", workers=2)
    assert code == 0
    assert "attempts" not in report(out)["videos"]["a"]
