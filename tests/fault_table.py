"""The table of faults in docs/faults.md, written from the tests that are marked `fault`.

    @pytest.mark.fault("what is tried, {parameter}", "what is promised")

A parameter of the test in braces stands for its value: a text, a number, or the name of a function. Cases with equal
words are one row. `python -m pytest --collect-only -q --fault-table=docs/faults.md` writes the page.
"""

from pathlib import Path

TESTS = Path(__file__).resolve().parent
AREAS = {
    "io": "Frames, videos and masks",
    "datasets": "Folders and data sets",
    "weights": "Checkpoints and downloads",
    "predictor": "Segmenting",
    "engine": "Segmenting",
    "propagation": "Segmenting",
    "runtime": "Device, precision, backend",
    "outputs": "Writing results",
    "evaluate": "Batches and workers",
    "scripts": "The commands",
    "scoring": "Scores",
    "page": "The page in the browser",
    "interactive": "The page in the browser",
    "lab": "Ablation, benchmark, training",
}
ELSEWHERE = "Settings and the command line"
INTRODUCTION = """# What was tried to break it

Faults that the tests cause on purpose, {number} cases, and what they hold the program to. Written from the tests by
`python -m pytest --collect-only -q --fault-table=docs/faults.md`; add a row with `@pytest.mark.fault` on a test.
Exit codes: 0 all is well, 1 some videos failed, 2 the request is wrong, 3 disk, memory, weights or another part of the
machine, 130 and 143 signals.
"""


def pytest_addoption(parser):
    parser.addoption("--fault-table", metavar="FILE", help="write the table of faults that these tests cause")


def pytest_collection_modifyitems(config, items):
    path = config.getoption("--fault-table")
    if path:
        Path(path).write_text(page(items), encoding="utf-8")


def page(items):
    """The page as Markdown."""
    rows = {}
    for item in items:
        for mark in item.iter_markers("fault"):
            area = AREAS.get(item.path.relative_to(TESTS).parts[0], ELSEWHERE)
            rows.setdefault(area, {})[row(item, *mark.args)] = None
    parts = [INTRODUCTION.format(number=sum(map(len, rows.values())))]
    for area in dict.fromkeys([*AREAS.values(), ELSEWHERE]):
        if area in rows:
            parts.append(f"## {area}\n\n| tried | promised | test |\n|---|---|---|\n" + "\n".join(rows[area]) + "\n")
    return "\n".join(parts)


def row(item, tried, promised):
    parameters = item.callspec.params if hasattr(item, "callspec") else {}
    words = {name: word(value) for name, value in parameters.items()}
    cells = [text.format(**words).replace("|", "\\|") for text in (tried, promised)]
    return f"| {' | '.join(cells)} | `{item.path.relative_to(TESTS).as_posix()}::{item.originalname}` |"


def word(value):
    """A parameter as the table shows it."""
    if isinstance(value, dict):
        value = [f"{key.replace('__', '.')}={of_key}" for key, of_key in value.items()]
    if isinstance(value, list | tuple):
        return " ".join(map(word, value)) or "without settings"
    if callable(value):
        return value.__name__.removeprefix("make_").replace("_", " ")
    return str(getattr(value, "name", value)).replace("\n", " ")
