"""An executor registered by a plugin and selected by its name."""

import json

import pytest
from batch_trees import run_config, write_set

from xmem_infer.config import ExecutorConfig
from xmem_infer.errors import UsageError
from xmem_infer.evaluate.executors.protocol import EXECUTORS, executor_of
from xmem_infer.evaluate.run import evaluate


def config(tmp_path, weights, **changes):
    return run_config(tmp_path / "set", tmp_path / "out", weights, **changes)


def test_a_registered_executor_is_found_by_its_name(tmp_path, make_clip, tiny_weights, monkeypatch):
    monkeypatch.setattr(EXECUTORS, "_entries", dict(EXECUTORS._entries))
    write_set(tmp_path / "set", make_clip, {"a": 2, "b": 3})
    order = []

    @EXECUTORS.register("backwards")
    def backwards(video_run, weights, videos):
        for video in reversed(videos):
            order.append(video.name)
            yield video, video_run.run(video)

    assert evaluate(config(tmp_path, tiny_weights, executor=ExecutorConfig("backwards"))) == 0
    assert order == ["b", "a"]
    assert list(json.loads((tmp_path / "out" / "run.json").read_text())["videos"]) == ["a", "b"]
    with pytest.raises(UsageError, match=r"executor.kind=backward: .*did you mean backwards\?"):
        evaluate(config(tmp_path, tiny_weights, executor=ExecutorConfig("backward")))


def test_auto_uses_this_process_for_one_worker(tmp_path):
    assert executor_of(config(tmp_path, "w")) == "in_process"
    assert executor_of(config(tmp_path, "w", workers=2)) == "processes"
    assert executor_of(config(tmp_path, "w", executor=ExecutorConfig("in_process"), workers=2)) == "in_process"
