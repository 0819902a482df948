"""`--help`, `--version` and tab completion of the real commands."""

import dataclasses
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import xmem_infer
from xmem_infer.cli.settings_help import settings
from xmem_infer.config import EvalConfig, configs_dir
from xmem_infer.evaluate.score_merging import MergeConfig
from xmem_infer.export.command import ExportConfig
from xmem_infer.lab.ablation.config import AblateConfig
from xmem_infer.lab.benchmark.config import BenchmarkConfig, WorkersConfig
from xmem_infer.lab.training.config import TrainConfig
from xmem_infer.page.command import PageConfig
from xmem_infer.scoring.score_folders import ScoreConfig

SCRIPTS = Path(__file__).resolve().parents[2] / "scripts"
SCHEMAS = {
    "ablate": AblateConfig, "benchmark": BenchmarkConfig, "benchmark_workers": WorkersConfig, "eval": EvalConfig,
    "export": ExportConfig, "merge_scores": MergeConfig, "page": PageConfig, "score": ScoreConfig, "train": TrainConfig,
}  # fmt: skip


def said(*command, status=0):
    environment = {**os.environ, "PYTHONPATH": str(SCRIPTS.parent)}
    done = subprocess.run(
        [sys.executable, *map(str, command)], capture_output=True, text=True, env=environment, check=False
    )
    assert done.returncode == status, done.stderr
    return done.stdout if status == 0 else done.stderr


def test_all_commands_are_covered():
    assert {path.stem for path in configs_dir().glob("*.yaml")} == set(SCHEMAS)


@pytest.mark.parametrize("name", SCHEMAS)
def test_each_setting_of_a_command_is_explained(name):
    found = list(settings(configs_dir() / f"{name}.yaml", SCHEMAS[name]))
    assert [setting.key for setting in found if not setting.comment] == []
    assert len({setting.key for setting in found}) == len(found) >= len(dataclasses.fields(SCHEMAS[name]))
    assert not [setting.key for setting in found if "None" in setting.default + setting.comment]


@pytest.mark.parametrize("name", ["merge_scores", pytest.param("ablate", marks=pytest.mark.slow)])
def test_help_lists_the_settings_that_a_script_reads(name):
    text = said(SCRIPTS / f"{name}.py", "--help")
    for setting in settings(configs_dir() / f"{name}.yaml", SCHEMAS[name]):
        assert re.search(rf"^  {re.escape(setting.key)}={re.escape(setting.default)}  .*\w", text, re.MULTILINE)
    assert "data.size=" not in text  # replaced by ablate.sizes


def test_a_setting_of_another_command_is_refused():
    shown = said(SCRIPTS / "ablate.py", "data.size=360", status=2)
    assert "data.size=360" in shown
    assert "ablate.sizes" in shown


def test_the_package_runs_as_a_module_and_prints_its_version():
    assert said("-m", "xmem_infer", "--version") == f"xmem-infer {xmem_infer.__version__}\n"
    assert "video_dir=null" in said("-m", "xmem_infer", "--help")


@pytest.fixture(scope="module")
def completed(tmp_path_factory):
    """Complete a line in a real bash with the function that the printed script registers for its first word."""
    folder = tmp_path_factory.mktemp("completion")
    script = folder / "completion.sh"
    script.write_text(said("-m", "xmem_infer", "--completion", "bash"))
    typed = """
source "$1"; COMP_LINE="$2"; COMP_POINT=${#2}; COMP_WORDS=($2)
registered=$(complete -p "${COMP_WORDS[0]}"); registered="${registered##*-F }"
"${registered%% *}"; printf '%s\\n' "${COMPREPLY[@]}"
"""

    def complete(line):
        command = ["bash", "--norc", "-c", typed, "bash", str(script), line]
        done = subprocess.run(command, capture_output=True, text=True, cwd=folder, check=True)
        assert done.stderr == ""
        return done.stdout.split()

    return complete


@pytest.mark.parametrize("command", ["xmem-infer", "eval.py", "python scripts/eval.py"])
def test_tab_completes_keys_and_choices(completed, command):
    assert completed(f"{command} memory.top") == ["memory.top_k="]
    assert completed(f"{command} video_dir=clip runtime.device=c") == ["cpu", "cuda"]
    assert completed(f"{command} dataset=davis16") == ["davis16_val"]
    assert completed(f"{command} score=") == ["true", "false"]
    assert completed(f"{command} video_dir=cl") == []  # bash then completes file names


def test_tab_leaves_other_python_scripts_alone(completed):
    assert completed("python setup.py memory.top") == []


def test_other_shells_are_refused_with_a_one_line_error():
    assert said("-m", "xmem_infer", "--completion", "fish", status=2).startswith("error: --completion fish: tab")
