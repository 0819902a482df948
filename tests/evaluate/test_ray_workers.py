"""executor=ray with real Ray processes: same results, even if a worker is killed or a node is lost."""

import os
import signal
import sys

import pytest
from batch_trees import ROOT, leftovers, report, start, tree, wait_for_attempt, write_set
from commands import in_process

PATIENT = {"health_check_initial_delay_ms": 1000, "health_check_period_ms": 500, "health_check_failure_threshold": 4}
QUIET = ("output.overlay=false", "output.preview=false")


def test_without_ray_the_error_says_how_to_install_it(tmp_path, make_clip, tiny_weights, monkeypatch):
    (tmp_path / "shadow" / "ray").mkdir(parents=True)
    (tmp_path / "shadow" / "ray" / "__init__.py").write_text("raise ImportError(\"No module named 'ray'\")")
    monkeypatch.syspath_prepend(tmp_path / "shadow")
    monkeypatch.delitem(sys.modules, "ray", raising=False)
    videos = write_set(tmp_path / "set", make_clip, {"a": 3})
    settings = (f"video_dir={videos}", f"weights={tiny_weights}", "output_dir=out", "executor=ray")
    done = in_process("eval.py", *settings, cwd=tmp_path)
    assert done.returncode == 2, done.stderr
    assert "pip install ray" in done.stderr
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_an_address_without_a_cluster_is_an_error(tmp_path, make_clip, tiny_weights):
    pytest.importorskip("ray", reason="Ray is not installed: pip install ray")
    videos = write_set(tmp_path / "set", make_clip, {"a": 3})
    process = start(videos, tiny_weights, tmp_path / "out", "executor=ray", "executor.address=127.0.0.1:9")
    said = process.communicate(timeout=120)[1]
    assert process.returncode == 3, said
    assert "127.0.0.1:9" in said
    assert "ray start" in said


@pytest.fixture(scope="module")
def cluster():
    """A cluster of two nodes on this machine, with one CPU each."""
    pytest.importorskip("ray", reason="Ray is not installed: pip install ray")
    from ray.cluster_utils import Cluster

    before = os.environ.copy()
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    # Workers import this package from the checkout, whether it is installed or not.
    os.environ["PYTHONPATH"] = f"{ROOT}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"
    store = 100 * 2**20
    node = {"num_cpus": 1, "include_dashboard": False, "object_store_memory": store, "_system_config": PATIENT}
    running = Cluster(initialize_head=True, head_node_args=node)
    yield running
    running.shutdown()
    os.environ.clear()
    os.environ.update(before)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="clusters of several nodes on one machine are for Linux")
@pytest.mark.fault("Ray worker killed, Ray node lost", "same output as an uninterrupted run")
def test_a_killed_worker_and_a_lost_node_do_not_change_results(cluster, tmp_path, make_clip, tiny_weights):
    videos = write_set(tmp_path / "set", make_clip, {"short": 4, "mid": 60, "long": 150})
    quiet = start(videos, tiny_weights, tmp_path / "whole", *QUIET)
    assert quiet.wait(timeout=120) == 0
    second = cluster.add_node(num_cpus=1, object_store_memory=100 * 2**20)
    out = tmp_path / "out"
    process = start(
        videos, tiny_weights, out, "executor=ray", "workers=2", f"executor.address={cluster.address}", *QUIET
    )

    os.kill(wait_for_attempt(process, out, "long"), signal.SIGKILL)
    wait_for_attempt(process, out, "long", 2)
    cluster.remove_node(second, allow_graceful=False)
    said = process.communicate(timeout=240)[1]

    assert process.returncode == 0, said
    assert tree(out) == tree(tmp_path / "whole")
    assert leftovers(out) == []
    assert report(out)["videos"]["long"]["attempts"] >= 2


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="needs signals")
def test_a_crashing_video_is_quarantined_and_a_stop_cleans_up(cluster, tmp_path, make_clip, tiny_weights):
    videos = write_set(tmp_path / "set", make_clip, {"deadly": 150, "fine": 5, "later": 149})
    out = tmp_path / "out"
    arguments = (videos, tiny_weights, out, "executor=ray", f"executor.address={cluster.address}", *QUIET)
    process = start(*arguments)
    for number in (1, 2, 3):
        os.kill(wait_for_attempt(process, out, "deadly", number), signal.SIGKILL)
    wait_for_attempt(process, out, "later")
    process.send_signal(signal.SIGTERM)
    said = process.communicate(timeout=60)[1]
    assert process.returncode == 143, said
    assert leftovers(out) == []
    entries = report(out)["videos"]
    assert entries["deadly"]["status"] == "quarantined"
    assert "died 3 times" in entries["deadly"]["error"]
    assert not (out / "masks" / "later").exists()

    again = start(*arguments)
    said = again.communicate(timeout=240)[1]
    assert again.returncode == 0, said
    assert {entry["status"] for entry in report(out)["videos"].values()} == {"done"}
