"""The wheel, built from this checkout and used in another folder."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import xmem_infer

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def unpacked_wheel(tmp_path_factory):
    """The unpacked wheel, in the layout of an installation."""
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", folder, ROOT]
    built = subprocess.run(command, capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stdout + built.stderr
    (wheel,) = folder.glob("*.whl")
    zipfile.ZipFile(wheel).extractall(folder / "site")
    return folder / "site"


def run_command(site, folder, *arguments):
    """Run the console command `xmem-infer` from the wheel instead of the checkout."""
    code = "import sys; from xmem_infer.cli.commands import eval_command; sys.exit(eval_command())"
    # -P excludes the current folder; the wheel's folder precedes an editable installation.
    environment = {**os.environ, "PYTHONPATH": str(site), "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        [sys.executable, "-c", code, *arguments],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def test_the_wheel_contains_configs_model_and_command(unpacked_wheel):
    assert (unpacked_wheel / "xmem_infer" / "configs" / "eval.yaml").is_file()
    assert (unpacked_wheel / "xmem_infer" / "weights" / "xmem-tiny.safetensors").is_file()
    (entry_points,) = unpacked_wheel.glob("*.dist-info/entry_points.txt")
    assert "xmem-infer = xmem_infer.cli.commands:eval_command" in entry_points.read_text()
    assert (unpacked_wheel / "xmem_infer" / "py.typed").is_file()
    page = unpacked_wheel / "xmem_infer" / "page" / "static"
    assert {path.name for path in page.iterdir()} >= {"index.html", "app.css", "app.js", "icon.svg"}
    (metadata,) = unpacked_wheel.glob("*.dist-info/METADATA")
    assert f"\nVersion: {xmem_infer.__version__}\n" in metadata.read_text()
    (licence,) = unpacked_wheel.glob("*.dist-info/licenses/LICENSE")
    assert "MIT" in licence.read_text()


def test_the_wheel_segments_from_another_folder(unpacked_wheel, tmp_path):
    where = run_command(unpacked_wheel, tmp_path, "--info", "searchpath")
    assert str(unpacked_wheel / "xmem_infer" / "configs") in where.stdout
    clip = ROOT / "examples" / "clip"
    frames = tmp_path / "clip"
    frames.mkdir()
    for number in range(3):
        name = f"{number:05d}.jpg"
        (frames / name).write_bytes((clip / "JPEGImages" / "scene" / name).read_bytes())
    (tmp_path / "clip.png").write_bytes((clip / "Annotations" / "scene" / "00000.png").read_bytes())
    done = run_command(unpacked_wheel, tmp_path, "video_dir=clip", "weights=xmem-tiny", "data.size=120")
    assert done.returncode == 0, done.stderr
    assert "preview model" in done.stderr
    assert len(list((tmp_path / "output" / "clip" / "masks" / "clip").iterdir())) == 3


def run_from(wheel, folder, code, *arguments):
    """Run Python code in a new process in `folder`, with the package of the unpacked wheel."""
    environment = {**os.environ, "PYTHONPATH": str(wheel)}
    command = [sys.executable, "-c", code, *arguments]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


def test_the_base_installation_runs_without_extras(unpacked_wheel, tmp_path):
    """Packages of the extras cannot be imported, as if they were not installed."""
    for name in ("matplotlib", "ray", "torchvision", "psutil", "fastapi", "starlette", "uvicorn", "websockets"):
        (tmp_path / f"{name}.py").write_text("raise ImportError('not in the base installation')")
    code = (
        "import sys, pkgutil, importlib; sys.path.insert(0, sys.argv[1]); import xmem_infer\n"
        "for module in pkgutil.walk_packages(xmem_infer.__path__, 'xmem_infer.'):\n"
        "    if not module.name.startswith(('xmem_infer.lab', 'xmem_infer.page')): importlib.import_module(module.name)"
    )
    done = run_from(unpacked_wheel, tmp_path, code, str(tmp_path))
    assert done.returncode == 0, done.stderr


def test_a_run_does_not_import_unused_slow_packages(unpacked_wheel, tmp_path):
    """For example sympy, which parts of torch import, costs half a second at every start."""
    code = (
        "import sys, contextlib; from xmem_infer.cli.commands import eval_command\n"
        "with contextlib.suppress(SystemExit): eval_command()\n"
        "print(sorted({'sympy', 'torchvision', 'matplotlib', 'scipy', 'ray', 'torch._dynamo'} & set(sys.modules)))"
    )
    settings = (f"video_dir={ROOT / 'examples' / 'clip'}", "data.size=64", "score=false", "runtime.variant=fast")
    done = run_from(unpacked_wheel, tmp_path, code, *settings)
    assert done.stdout.splitlines()[-1] == "[]" and "results in" in done.stderr, done.stdout + done.stderr


def test_the_page_says_how_to_install_its_requirements(unpacked_wheel, tmp_path):
    for name in ("index.html", "app.js", "app.css"):
        assert (unpacked_wheel / "xmem_infer" / "page" / "static" / name).is_file()
    code = (
        "import sys, importlib.util as util; from xmem_infer.cli.commands import eval_command; find = util.find_spec\n"
        "util.find_spec = lambda name, *more: None if name == 'fastapi' else find(name, *more)\n"
        "sys.argv = ['xmem-infer', 'page', 'video.mp4']; eval_command()"
    )
    done = run_from(unpacked_wheel, tmp_path, code)
    assert done.returncode == 3 and "pip install 'xmem-infer[page]'" in done.stderr
