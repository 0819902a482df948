"""`scripts/eval.py -m`: a folder per combination, independent failures, the highest exit code."""

import json

import pytest
from commands import in_process
from PIL import Image

from xmem_infer.cli.commands import MAX_NAME, folder_name


@pytest.fixture
def run(tmp_path, tiny_weights, make_clip):
    images, masks = make_clip(3, 48, 64, 2, seed=0)
    (tmp_path / "clip").mkdir()
    for index, image in enumerate(images):
        Image.fromarray(image).save(tmp_path / "clip" / f"{index}.png")
    Image.fromarray(masks[0]).save(tmp_path / "clip.png")

    def start(*overrides):
        settings = [
            f"video_dir={tmp_path / 'clip'}", f"weights={tiny_weights}", "data.size=-1", "runtime.threads=1",
            "runtime.device=cpu", "output.overlay=false", "output.preview=false",
        ]  # fmt: skip
        return in_process("eval.py", "-m", *settings, *overrides, cwd=tmp_path)

    return start


def test_every_combination_has_its_own_folder(run, tmp_path):
    done = run("runtime.grad_mode=no_grad,inference_mode", "runtime.precision=fp32,bf16")
    assert done.returncode == 0, done.stderr
    folders = sorted(path.parent for path in (tmp_path / "output" / "multirun").rglob("run.json"))
    assert [folder.name for folder in folders] == [
        f"runtime.grad_mode={mode},runtime.precision={precision}"
        for mode in ("inference_mode", "no_grad")
        for precision in ("bf16", "fp32")
    ]
    for folder in folders:
        config = json.loads((folder / "run.json").read_text())["config"]["runtime"]
        assert folder.name == f"runtime.grad_mode={config['grad_mode']},runtime.precision={config['precision']}"
        assert len(list((folder / "masks" / "clip").iterdir())) == 3
    assert not (tmp_path / "multirun").exists()  # Hydra's default folder


@pytest.mark.fault("one combination of a sweep fails", "the others are completed; the highest exit code is returned")
def test_a_failing_combination_does_not_stop_the_rest(run, tmp_path):
    done = run("runtime.precision=tf32,fp32", "output_dir=results")
    assert done.returncode == 2
    assert "runtime.precision=tf32: exit code 2" in done.stderr
    assert "NVIDIA" in done.stderr
    made = [path for path in (tmp_path / "results").iterdir() if (path / "run.json").is_file()]
    assert [path.name for path in made] == ["runtime.precision=fp32"]


def test_an_unknown_choice_is_refused_before_any_work(run, tmp_path):
    done = run("runtime.precision=fp32,fp8")
    assert done.returncode == 2
    assert "fp8" in done.stderr
    assert not list(tmp_path.rglob("run.json"))


def test_a_sweep_over_output_dir_uses_the_given_folders(run, tmp_path):
    done = run("output_dir=one,two")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "one" / "run.json").is_file()
    assert (tmp_path / "two" / "run.json").is_file()


def test_names_of_folders():
    assert folder_name("memory.top_k=5,data.size=-1") == "memory.top_k=5,data.size=-1"
    assert folder_name("video_dir=/data/my clip") == "video_dir=_data_my_clip"
    long = [folder_name(f"mask={'x' * 300}{index}") for index in range(2)]
    assert len(set(long)) == 2
    assert all(len(name) <= MAX_NAME for name in long)
