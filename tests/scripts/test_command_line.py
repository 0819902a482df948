"""Command line arguments: paths with any characters, and one-line errors for invalid arguments."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from commands import in_process
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from xmem_infer.cli.commands import run
from xmem_infer.config import EvalConfig

NAMES = [
    "video (1).mp4", "a=b.mp4", "IMG_0001 2, final.MOV", "[1080p] clip {x}.mkv", "it's \"mine\".mp4", "007", "1e3",
    "Überfahrt – 名前.mp4", "true", "back\\slash\\", "'quoted' in part", "a:b;c&d#e%20f$5.mp4", "~tilde.mp4", "x' \\",
    "  spaces  ",
]  # fmt: skip


def composed(monkeypatch, *arguments):
    seen = []
    monkeypatch.setattr(sys, "argv", ["eval.py", *arguments])
    assert run("eval", EvalConfig, lambda config: seen.append(config) or 0) == 0
    return seen


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.fault("path `{name}`, not quoted for Hydra", "used exactly as typed")
def test_any_file_name_is_used_exactly_as_typed(monkeypatch, name):
    keys = ("video_dir", "mask", "output_dir", "weights", "data_root")
    (config,) = composed(monkeypatch, *(f"{key}={name}" for key in keys))
    assert [getattr(config, key) for key in keys] == [name] * 5


@settings(max_examples=10)
@given(st.text(st.characters(exclude_categories=["Cc", "Cs"], exclude_characters="$"), min_size=1))
def test_any_text_is_used_exactly_as_typed(name):
    quoted = name[0] == name[-1] and name[0] in "'\""  # then Hydra treats it as a quoted string
    if not quoted and name not in ("null", "???"):
        with pytest.MonkeyPatch.context() as patch:
            (config,) = composed(patch, f"video_dir={name}")
        assert config.video_dir == name


def test_positional_paths(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a=b.mp4").touch()
    (config,) = composed(monkeypatch, "a=b.mp4", "memory.top_k=3", "masks (1)/x=y")
    assert (config.video_dir, config.mask, config.memory.top_k) == ("a=b.mp4", "masks (1)/x=y", 3)
    (config,) = composed(monkeypatch, "video_dir='quoted as Hydra wants it'", "mask=null", "dataset=null")
    assert (config.video_dir, config.mask, config.dataset) == ("quoted as Hydra wants it", None, None)


def test_sweeps_are_distinguished_from_names_with_commas(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    swept = composed(monkeypatch, "-m", "video_dir=a,b", "mask=m (1).png", "weights='c,d'")
    assert [config.video_dir for config in swept] == ["a", "b"]
    assert {(config.mask, config.weights) for config in swept} == {("m (1).png", "c,d")}


def test_the_command_with_file_names_as_browsers_save_them(tmp_path, make_clip, tiny_weights):
    images, masks = make_clip(2, 48, 64, 1, seed=0)
    folder, mask, weights = (
        tmp_path / "Clip (1), a=b",
        tmp_path / "Maske [ü] 'x'.png",
        tmp_path / "my, weights.safetensors",
    )
    folder.mkdir()
    for t, image in enumerate(images):
        Image.fromarray(image).save(folder / f"{t}.png")
    Image.fromarray(masks[0]).save(mask)
    weights.write_bytes(Path(tiny_weights).read_bytes())
    settings = (f"weights={weights.name}", "output_dir=out (2)", "data.size=-1")
    done = in_process("eval.py", folder.name, mask.name, *settings, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert len(list((tmp_path / "out (2)" / "masks" / folder.name).iterdir())) == 2


IMPOSSIBLE = [
    (["mask=${oc.env:NOPE}"], "mask cannot be resolved: Environment variable 'NOPE' not found"),
    (["video_dir=${video_dir}"], "video_dir cannot be resolved: Recursive interpolation detected"),
    (["video_dir=???"], "video_dir=??? has to be given"),
    (["data=null"], "data=null is not possible: it must be one of default"),
    (["memory=none"], "memory=none is not possible: it must be one of xmem"),
    (["runtime.device=gpu"], "runtime.device=gpu is not possible: it must be one of auto, cpu, cuda, mps"),
    (["-m", "runtime.device=gpu,cpu"], "runtime.device=gpu is not possible: it must be one of auto"),
    (["data.size=480p"], "data.size=480p is not possible: it must be a whole number"),
    (["runtime.threads=many"], "runtime.threads=many is not possible: it must be null or a whole number"),
    (["overwrite=perhaps"], "overwrite=perhaps is not possible: it must be true or false"),
    (["tta.sizes=480"], "tta.sizes=480 is not possible: it must be a list, as in tta.sizes=[480,600]"),
    (["device=cpu"], "there is no setting 'device'. Did you mean runtime.device?"),
    (["metrics=[J (1),F]"], "cannot read 'metrics=[J (1),F]'"),
    (["dataset.name=x"], "dataset.name can only be used with dataset=NAME: davis16_val"),
    (["a", "b", "c"], "'c' is one word too many: video_dir and mask are given already"),
    (["a", "video_dir=b"], "video_dir is given twice"),
    (["a", "--size", "64"], "there is no option '--size'. Did you mean data.size=...? Settings are key=value"),
    (["a", "-o=out"], "there is no option '-o=out'. Settings are key=value; --help lists them"),
    (["a", "experiment=train_lite0"], "experiment=train_lite0 is of another command: this one has no setting"),
    (["nowhere/clip.mp4"], "video_dir=nowhere/clip.mp4 does not exist"),
]

EACH_IN_TURN = """
import contextlib, io, json, sys
from xmem_infer.cli.commands import eval_command

for arguments in json.load(sys.stdin):
    sys.argv[1:], error = arguments, io.StringIO()
    try:
        with contextlib.redirect_stderr(error):
            eval_command()
    except SystemExit as end:
        print(json.dumps([end.code, error.getvalue(), "torch" in sys.modules]))
"""


@pytest.fixture(scope="module")
def answers(tmp_path_factory):
    """(Exit code, standard error, whether torch was loaded) of each command."""
    asked = json.dumps([arguments for arguments, _ in IMPOSSIBLE])
    command = [sys.executable, "-c", EACH_IN_TURN]
    done = subprocess.run(command, input=asked, cwd=tmp_path_factory.mktemp("asked"), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.mark.parametrize(("arguments", "words"), IMPOSSIBLE)
@pytest.mark.fault("`xmem-infer {arguments}`", "exit code 2 with a one-line error before torch is loaded")
def test_invalid_commands_give_one_line_before_torch_is_loaded(answers, arguments, words):
    code, said, torch_loaded = answers[[asked for asked, _ in IMPOSSIBLE].index(arguments)]
    assert (code, torch_loaded) == (2, False), said
    (line,) = [
        line for line in said.splitlines() if not line.startswith("--")
    ]  # the line that names a combination of a sweep
    assert line.startswith("error: ") and words in line


def test_subcommands_exist_where_there_are_no_scripts(tmp_path):
    code = "import sys; from xmem_infer.cli.commands import eval_command; eval_command()"
    for arguments, words in (
        (["download", "--list"], "XMem-s012.pth"),
        (["score", "--help"], "predictions"),
    ):
        done = subprocess.run(
            [sys.executable, "-c", code, *arguments],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        assert words in done.stdout
