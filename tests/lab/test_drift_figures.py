"""scripts/drift_figures.py on a run of the embedded model and on folders that are no runs."""

import pytest
from commands import ROOT, in_process

CLIP = ROOT / "examples" / "clip"


@pytest.fixture(scope="module")
def output(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    done = in_process("eval.py", f"video_dir={CLIP}", "output_dir=out", "weights=xmem-tiny", "data.size=96", cwd=folder)
    assert done.returncode == 0, done.stderr
    return folder / "out"


def test_every_scored_frame_of_an_object_is_counted_once(output, tmp_path):
    done = in_process("drift_figures.py", output, CLIP / "Annotations", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    rows = [[cell.strip() for cell in line.strip("|\n ").split("|")] for line in done.stdout.splitlines()[2:]]
    assert [row[0] for row in rows] == ["J&F under 50", "between", "J&F of 80 or more"]
    frames, objects = len(list((CLIP / "Annotations" / "scene").iterdir())), 2
    assert sum(int(row[1]) for row in rows) == objects * (frames - 2)


def test_folders_without_confidence_are_refused(tmp_path):
    done = in_process("drift_figures.py", CLIP / "Annotations", CLIP / "Annotations", cwd=tmp_path)
    assert done.returncode == 2 and "no frame has a score and a confidence" in done.stderr
    assert "Traceback" not in done.stderr
