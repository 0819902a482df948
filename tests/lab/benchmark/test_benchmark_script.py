"""`scripts/benchmark.py` as its users run it: its exit code, its words, its files."""

import csv
import shutil
import signal
import time

import pytest
from commands import begun, in_process

from xmem_infer.lab.benchmark import interleaved

VARIANTS = ["published_fp32", "plain_bf16", "fast_fp32"]
SMALL = (
    "workloads=[64p_2,tiny_64p_1]", f"variants=[{','.join(VARIANTS)}]", "rounds=2",
    "peak_memory=[64p_2]", "curve.base=64p_2", "curve.objects=[2]", "curve.heights=[48,64]", "curve.memory_frames=[9]",
    "curve.variants=[fast_fp32]", "end_to_end.workloads=[64p_2]", "end_to_end.frames=6",
    "end_to_end.variant=fast_fp32", "runtime.threads=1",
)  # fmt: skip


def run(folder, *overrides, by=in_process):
    return by("benchmark.py", "output_dir=out", *overrides, cwd=folder)


@pytest.fixture(scope="module")
def finished(tmp_path_factory, tiny_weights):
    """A finished benchmark whose yardstick has small kernels, because bf16 takes minutes where it is emulated."""
    folder = tmp_path_factory.mktemp("benchmark")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(interleaved, "CONVOLUTIONS", ())
        patch.setattr(interleaved, "SIDE", 128)
        return folder / "out", run(folder, *SMALL, f"weights={tiny_weights}")


@pytest.mark.slow
def test_a_benchmark_leaves_tables_and_pictures(finished):
    folder, done = finished
    assert done.returncode == 0, done.stderr
    assert {path.name for path in folder.iterdir()} == {"report.md", "results.csv", "times.png", "curves.png"}
    assert "Traceback" not in done.stderr


@pytest.mark.slow
def test_every_workload_has_a_row_per_variant_and_ratios(finished):
    folder, _ = finished
    rows = {(row["workload"], row["variant"]): row for row in csv.DictReader((folder / "results.csv").open())}
    for workload in ("64p_2", "tiny_64p_1"):
        times = {name: float(rows[workload, name]["p50_ms"]) for name in VARIANTS}
        for name in VARIANTS:
            for baseline in ("published_fp32", "plain_bf16"):
                ratio = float(rows[workload, name][f"times_{baseline}"])
                assert ratio == pytest.approx(times[baseline] / times[name])
            assert rows[workload, name]["times_published_bf16"] == ""  # was not asked for
    assert {key[0] for key in rows} == {"64p_2", "tiny_64p_1", "48p_2", "64p_2_long_term"}
    assert [variant for name, variant in rows if name == "48p_2"] == ["fast_fp32"]
    assert float(rows["64p_2", "fast_fp32"]["peak_bytes"]) > 0


@pytest.mark.slow
def test_the_page_says_what_was_measured_where(finished):
    folder, done = finished
    report = (folder / "report.md").read_text()
    words = ("cpu threads | 1", "x published_fp32", "batch norm folded", "memory read: p50 / p95 ms", "Peak memory")
    for text in (*words, "finish ms, per clip", "curves.png"):
        assert text in report
    assert "Not finished" not in report
    for words in ("torch ", "cpu_threads: 1", "64p_2: 114x64, 2 objects, full memory", "| fast_fp32 |"):
        assert words in done.stdout


@pytest.mark.slow
def test_pictures_are_drawn_anew_from_the_table_alone(finished, tmp_path):
    folder, _ = finished
    shutil.copy(folder / "results.csv", tmp_path)
    done = run(tmp_path, *SMALL, f"redraw={tmp_path}")
    assert done.returncode == 0, done.stderr
    for name in ("times.png", "curves.png"):
        assert (tmp_path / name).read_bytes() == (folder / name).read_bytes()


def test_pictures_of_no_report_are_refused(tmp_path):
    done = run(tmp_path, f"redraw={tmp_path}")
    assert done.returncode == 2 and "has no results.csv" in done.stderr


@pytest.mark.slow
def test_a_stopped_benchmark_keeps_what_it_measured(tmp_path, tiny_weights):
    settings = [
        "workloads=[64p_1,480p_1]", "variants=[fast_fp32]", "rounds=3", "peak_memory=[64p_1]", "curves=false",
        "end_to_end.workloads=[]", "runtime.threads=1", f"weights={tiny_weights}",
    ]  # fmt: skip
    report = tmp_path / "out" / "report.md"
    with run(tmp_path, *settings, by=begun) as process:
        for _ in range(3000):
            if report.exists():
                break
            time.sleep(0.1)
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=120)
    assert process.returncode == 130, said
    text = report.read_text()
    assert "**Not finished.** Still to be measured: 480p_1, peak memory of 64p_1." in text
    assert "### 64p_1: 114x64" in text


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("workloads=[480]", "480p_2"),
        ("variants=[fast]", "fast_bf16"),
        ("rounds=0", "rounds=0"),
        ("round=3", "rounds"),
        ("curve.memory_frames=[0]", "curve.memory_frames=0"),
        ("weights=nowhere.pth", "nowhere.pth"),
    ],
)
def test_wrong_settings_are_refused_before_any_work(tmp_path, override, words):
    done = run(tmp_path, "workloads=[64p_1]", override)
    assert done.returncode in (2, 3), done.stderr
    assert words in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "out" / "report.md").exists()
