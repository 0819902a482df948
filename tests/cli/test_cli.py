import logging
import re
import signal
import sys

import pytest

from xmem_infer.cli.arguments import settings_from
from xmem_infer.cli.commands import report_error, run
from xmem_infer.config import EvalConfig, GradMode, LateObjects, MemoryConfig
from xmem_infer.errors import EnvironmentFault, UsageError, VideoError, WeightsError
from xmem_infer.interrupts import Interrupted
from xmem_infer.lab.benchmark.config import BenchmarkConfig


@pytest.mark.parametrize(
    "arguments",
    [
        ["memory.top_k=3", "video_dir=a=b", "+memory.top_k=3", "~mask", "--help", "hydra.verbose=true"],
        ["memory=xmem", "runtime@runtime=default", "-m", "runtime.precision=fp32,bf16"],
    ],
)
def test_valid_overrides_are_accepted(arguments):
    settings_from(arguments, EvalConfig)


@pytest.mark.parametrize(
    ("argument", "words"),
    [
        ("memory.topk=3", ["memory.top_k", "memory_every"]),
        ("video_dri=x", ["Did you mean video_dir", "weights"]),
        ("weights.path=x", ["weights.path", "single value"]),
        ("+new.thing=1", ["new.thing"]),
    ],
)
@pytest.mark.fault("misspelled setting `{argument}`", "error suggests the closest name and lists the valid ones")
def test_misspelled_settings_are_refused_with_suggestions(argument, words):
    with pytest.raises(UsageError) as caught:
        settings_from([argument], EvalConfig)
    for word in words:
        assert word in str(caught.value)


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (VideoError("a"), 1),
        (UsageError("a"), 2),
        (EnvironmentFault("a"), 3),
        (WeightsError("a"), 3),
        (KeyboardInterrupt(), 130),
        (Interrupted(signal.SIGTERM), 143),
    ],
)
def test_errors_become_exit_codes(error, code, capsys):
    assert report_error(error) == code
    assert capsys.readouterr().err


def compose(monkeypatch, *arguments):
    seen = []

    def job(config):
        seen.append(config)
        return 0

    monkeypatch.setattr(sys, "argv", ["eval.py", *arguments])
    return run("eval", EvalConfig, job), seen


def test_yaml_and_dataclasses_agree_and_values_are_typed(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    code, (config,) = compose(monkeypatch, "video_dir=x", "runtime.grad_mode=no_grad")
    assert code == 0
    assert config == EvalConfig(video_dir="x", runtime=config.runtime)
    assert config.runtime.grad_mode is GradMode.no_grad
    assert config.memory == MemoryConfig()
    assert config.memory.late_objects is LateObjects.aligned
    assert not list(tmp_path.iterdir())  # Hydra leaves nothing behind


@pytest.mark.parametrize("bad", ["memory.top_k=many", "runtime.precision=fp8", "data.antialias=perhaps", "memory=none"])
@pytest.mark.fault("invalid value `{bad}`", "exit code 2, nothing is run")
def test_invalid_values_are_usage_errors(monkeypatch, bad, tmp_path):
    monkeypatch.chdir(tmp_path)
    assert compose(monkeypatch, "video_dir=x", bad) == (2, [])


def test_logged_lines_go_to_stderr_and_tables_to_stdout(monkeypatch, tmp_path, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["eval.py", "video_dir=x"])

    def job(config):
        logging.getLogger("xmem_infer.some.room").info("%d videos", 3)
        logging.getLogger("xmem_infer.tables").info("J&F 90")
        logging.getLogger("xmem_infer.some.room").debug("for developers")
        return 0

    for _ in range(2):
        assert run("eval", EvalConfig, job) == 0
        shown = capsys.readouterr()
        assert (shown.out, shown.err) == ("J&F 90\n", "3 videos\n")


def test_help_lists_every_key_with_default_and_description(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["eval.py", "--help"])
    assert run("eval", EvalConfig, lambda config: 1) == 0
    text = capsys.readouterr().out
    for line in (
        "memory.top_k=30 +tokens read per query", r"runtime.device=auto +auto \| cpu", r"tta.sizes=\[\]",
        "mask=null +image", r"metrics=\[J,F\]", "Ready-made, runtime=NAME: compiled, default, eager, fast",
    ):  # fmt: skip
        assert re.search(line, text), line
    assert "Ready-made, output" in text and "experiment=NAME: cutie_paper, xmem_paper\n" in text
    monkeypatch.setattr(sys, "argv", ["benchmark.py", "--help"])
    assert run("benchmark", BenchmarkConfig, lambda config: 1) == 0
    text = capsys.readouterr().out
    assert "rounds=3" in text
    assert "Ready-made" not in text
