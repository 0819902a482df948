"""The lengths of the trips that `docs/how-it-works.md` describes."""

import re
from pathlib import Path

import pytest

from xmem_infer.lab.trace import trips

pytestmark = pytest.mark.slow
PAGE = Path(__file__).resolve().parents[2] / "docs" / "how-it-works.md"


@pytest.fixture(scope="module")
def found():
    return trips()


@pytest.mark.parametrize(("title", "calls", "files"), [("an ordinary frame", 35, 18), ("the first mask", 29, 16)])
def test_a_trip_is_short(found, title, calls, files):
    trip = next(trip for name, trip in found.items() if name.startswith(title))
    assert calls - 10 < len(trip) <= calls
    assert len({line.partition(":")[0] for line in trip}) <= files


def test_the_page_names_every_call_of_both_trips(found):
    described = set(re.findall(r"`([\w/.]+: \w+|scripts/eval.py)`", PAGE.read_text(encoding="utf-8")))
    passed = {line.removesuffix(": <module>") for trip in found.values() for line in trip}
    assert described == {line.removeprefix("xmem_infer/") for line in passed}
