"""scripts/corrections.py: what one true mask later in a video changes."""

import pytest
from commands import in_process
from dataset_trees import davis


@pytest.fixture
def run(tmp_path, make_clip):
    davis(tmp_path / "set", make_clip, ["clip"], "2017/val.txt")
    return lambda *arguments: in_process("corrections.py", "set", "--size", "96", *arguments, cwd=tmp_path)


def test_a_correction_improves_the_frames_after_it(run):
    done = run()
    assert done.returncode == 0, done.stderr
    head, _, *rows = [line.strip("| ").split(" | ") for line in done.stdout.strip().splitlines()]
    assert head[2:] == ["before", "after, not corrected", "corrected", "corrected, permanent"]
    assert [row[:2] for row in rows[:-1]] == [["clip", "1"], ["clip", "2"]]
    assert rows[-1][0] == "mean"
    for row in rows:
        before, uncorrected, corrected, permanent = map(float, row[-4:])
        assert 0 <= uncorrected < corrected <= 100 and 0 <= before <= 100
        assert corrected == permanent  # the corrected frame is still in working memory


@pytest.mark.parametrize(
    ("arguments", "said"),
    [(["--at", "1"], "give 2 to 3"), (["--at", "4"], "give 2 to 3"), (["--frames", "4"], "5 are needed")],
)
def test_a_frame_without_scores_on_both_sides_is_refused(run, arguments, said):
    done = run(*arguments)
    assert done.returncode == 2 and said in done.stderr
    assert "Traceback" not in done.stderr
