"""`scripts/ablate.py` as its users run it: its exit code, its words, its files."""

import csv

import pytest
from ablation_clip import write_clip
from commands import as_process, in_process

from xmem_infer.config import Device, Precision
from xmem_infer.errors import UsageError
from xmem_infer.lab.ablation.config import AblateConfig, AblationRuntime, MatrixConfig
from xmem_infer.lab.ablation.run import ablate


@pytest.fixture
def run(tmp_path, tiny_weights, make_clip):
    write_clip(tmp_path / "set", make_clip)

    def start(*overrides, by=in_process):
        arguments = [
            f"video_dir={tmp_path / 'set'}", f"weights={tiny_weights}", "output_dir=out", "runtime.threads=1",
            "ablate.sizes=[-1]", "ablate.objects=[2]", "ablate.frames=[7]", "ablate.repeats=1", "memory.memory_every=2",
        ]  # fmt: skip
        given = {override.partition("=")[0] for override in overrides}
        arguments = [argument for argument in arguments if argument.partition("=")[0] not in given]
        return by("ablate.py", *arguments, *overrides, cwd=tmp_path)

    return start


@pytest.mark.slow
def test_an_ablation(run, tmp_path):
    done = run("ablate.precisions=[fp32]", by=as_process)
    assert done.returncode == 0, done.stderr
    pictures = {f"{stem}.png" for stem in ("saving", "memory_by_frame")}
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"report.md", "results.csv", *pictures}
    rows = list(csv.DictReader((tmp_path / "out" / "results.csv").open()))
    assert [row["status"] for row in rows] == ["ok"] * 5
    assert len({row["masks_sha256"] for row in rows}) == 1
    peaks = {row["grad_mode"]: int(row["peak_tensor_bytes"]) for row in rows}
    assert peaks["set_grad_enabled"] == peaks["no_grad"] == peaks["inference_mode"] < peaks["enable_grad_detached"]
    assert "| cpu threads | 1 |" in (tmp_path / "out" / "report.md").read_text()
    assert "5 combinations, 1 runs each" in done.stderr
    assert done.stderr.count("report in out/report.md") == 1
    assert "profiler" not in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["runtime.device=cpu", "ablate.precisions=[fp32,tf32]"], ["tf32", "NVIDIA"]),
        (["ablate.grad_modes=[no_grad,off]"], ["off", "inference_mode"]),
        (["ablate.max_memory_gb=0.01"], ["max_memory_gb"]),
        (["ablate.repeat=3"], ["ablate.repeats"]),
        (["suite=everything"], ["everything", "documents"]),
    ],
)
def test_wrong_settings_are_refused_before_any_work(run, tmp_path, overrides, words):
    done = run(*overrides)
    assert done.returncode == 2, done.stderr
    for word in words:
        assert word in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"video_dir": "nowhere"}, "nowhere"),
        ({"ablate": MatrixConfig(frames=[99])}, r"ablate\.frames=99.*8 frames"),
        ({"ablate": MatrixConfig(precisions=[Precision.tf32])}, "tf32.*NVIDIA"),
    ],
)
def test_what_clip_or_device_cannot_do_is_refused_before_any_work(tmp_path, make_clip, config, words):
    write_clip(tmp_path / "set", make_clip)
    given = {"video_dir": str(tmp_path / "set"), "output_dir": str(tmp_path / "out"), **config}
    runtime = AblationRuntime(Device.cpu)
    with pytest.raises(UsageError, match=words):
        ablate(AblateConfig(weights="missing.pth", runtime=runtime, **given))
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_the_documents_suite(run, tmp_path):
    done = run(
        "suite=documents", "ablate.precisions=[fp32]", "ablate.objects=[1,2]", "documents.hidden=500", by=as_process,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    claims = list(csv.DictReader((tmp_path / "out" / "results.csv").open()))
    verdicts = {claim["claim"]: claim["verdict"] for claim in claims}
    assert len(verdicts) == 29
    assert "not measured" not in verdicts.values()
    assert verdicts["no_grad and inference_mode need the same memory"] == "holds"  # in fp32
    assert {claim["document"] for claim in claims} == {"1", "2", "3", "4", "5"}
    assert (tmp_path / "out" / "saving.png").stat().st_size > 0
