"""`scripts/benchmark.py` as its users run it: its exit code, its words, its files."""

import csv
import shutil
import signal
import time

import pytest
from commands import begun, in_process

from xmem_infer.lab.benchmark import end_to_end, interleaved

VARIANTS = ["published_fp32", "eager_fp32", "fast_fp32"]
SMALL = (
    "workloads=[64p_2,tiny_64p_1]", f"variants=[{','.join(VARIANTS)}]", "rounds=2",
    "peak_memory=[64p_2]", "end_to_end.workloads=[64p_2]", "end_to_end.variant=fast_fp32", "runtime.threads=1",
)  # fmt: skip


def run(folder, *overrides, by=in_process):
    return by("benchmark.py", "output_dir=out", *overrides, cwd=folder)


@pytest.fixture(scope="module")
def finished(tmp_path_factory, tiny_weights):
    """A finished benchmark whose yardstick has small kernels, and whose video file is short."""
    folder = tmp_path_factory.mktemp("benchmark")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(interleaved, "CONVOLUTIONS", ())
        patch.setattr(interleaved, "SIDE", 128)
        patch.setattr(end_to_end, "FRAMES", 6)
        return folder / "out", run(folder, *SMALL, f"weights={tiny_weights}")


@pytest.mark.slow
def test_a_benchmark_leaves_tables_and_a_picture(finished):
    folder, done = finished
    assert done.returncode == 0, done.stderr
    assert {path.name for path in folder.iterdir()} == {"report.md", "results.csv", "times.png"}
    assert "Traceback" not in done.stderr


@pytest.mark.slow
def test_every_workload_has_a_row_per_variant_and_ratios(finished):
    folder, _ = finished
    rows = {(row["workload"], row["variant"]): row for row in csv.DictReader((folder / "results.csv").open())}
    for workload in ("64p_2", "tiny_64p_1"):
        times = {name: float(rows[workload, name]["p50_ms"]) for name in VARIANTS}
        for name in VARIANTS:
            ratio = float(rows[workload, name]["times_published_fp32"])
            assert ratio == pytest.approx(times["published_fp32"] / times[name])
            assert rows[workload, name]["times_published_bf16"] == ""  # was not asked for
    assert {key[0] for key in rows} == {"64p_2", "tiny_64p_1"}
    assert float(rows["64p_2", "fast_fp32"]["peak_bytes"]) > 0


@pytest.mark.slow
def test_the_page_says_what_was_measured_where(finished):
    folder, done = finished
    report = (folder / "report.md").read_text()
    words = ("cpu threads | 1", "x published_fp32", "batch norm folded", "memory read: p50 / p95 ms", "Peak memory")
    for text in (*words, "file to masks, ratio", "64p_2: 114x64, 2 objects, full memory", "| fast_fp32 |"):
        assert text in report
    assert "Not finished" not in report
    assert done.stdout.startswith(report)


@pytest.mark.slow
def test_the_picture_is_drawn_anew_from_the_table_alone(finished, tmp_path):
    folder, _ = finished
    shutil.copy(folder / "results.csv", tmp_path)
    done = run(tmp_path, *SMALL, f"redraw={tmp_path}")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "times.png").read_bytes() == (folder / "times.png").read_bytes()


def test_a_picture_of_no_report_is_refused(tmp_path):
    done = run(tmp_path, f"redraw={tmp_path}")
    assert done.returncode == 2 and "has no results.csv" in done.stderr


@pytest.mark.slow
def test_a_stopped_benchmark_keeps_what_it_measured(tmp_path, tiny_weights):
    settings = [
        "workloads=[64p_1,480p_1]", "variants=[fast_fp32]", "rounds=3", "peak_memory=[64p_1]",
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
        ("end_to_end.workloads=[65p_1]", "even height"),
        ("weights=nowhere.pth", "nowhere.pth"),
    ],
)
def test_wrong_settings_are_refused_before_any_work(tmp_path, override, words):
    done = run(tmp_path, "workloads=[64p_1]", override)
    assert done.returncode in (2, 3), done.stderr
    assert words in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "out" / "report.md").exists()
