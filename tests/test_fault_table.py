"""docs/faults.md is up to date."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.mark.slow
def test_the_page_is_up_to_date(tmp_path):
    arguments = ["--collect-only", "-q", "-p", "no:cacheprovider", f"--fault-table={tmp_path / 'faults.md'}", "tests"]
    done = subprocess.run([sys.executable, "-m", "pytest", *arguments], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-2000:]
    page = (tmp_path / "faults.md").read_text()
    assert page == (ROOT / "docs" / "faults.md").read_text(), f"write it again: pytest {' '.join(arguments[:2])} ..."
    assert page.count("\n| ") - page.count("\n| fault") >= 60
