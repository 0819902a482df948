"""Generate the table of faults in docs/faults.md from the tests that are marked `fault`.

    @pytest.mark.fault("the fault, {parameter}", "the required behaviour")

A parameter of the test in braces is replaced by its value: a text, a number, or the name of a function. Cases with the
same text become one row. `python -m pytest --collect-only -q --fault-table=docs/faults.md` writes the page.
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
INTRODUCTION = """# Faults that are tested

Each row is a fault that a test causes on purpose ({number} cases) and the behaviour that the test requires. The page is
generated from the tests by `python -m pytest --collect-only -q --fault-table=docs/faults.md`; to add a row, mark a test
with `@pytest.mark.fault`.
Exit codes: 0 success, 1 some videos failed, 2 invalid request, 3 a problem of the machine (disk, memory, weights), 130
and 143 stopped by a signal.
"""


def pytest_addoption(parser):
    parser.addoption("--fault-table", metavar="FILE", help="write the table of faults that the tests cause")


def pytest_collection_modifyitems(config, items):
    path = config.getoption("--fault-table")
    if path:
        Path(path).write_text(page(items), encoding="utf-8")


def page(items):
    """Return the page as Markdown."""
    rows = {}
    for item in items:
        for mark in item.iter_markers("fault"):
            area = AREAS.get(item.path.relative_to(TESTS).parts[0], ELSEWHERE)
            rows.setdefault(area, {})[row(item, *mark.args)] = None
    parts = [INTRODUCTION.format(number=sum(map(len, rows.values())))]
    for area in dict.fromkeys([*AREAS.values(), ELSEWHERE]):
        if area in rows:
            parts.append(
                f"## {area}\n\n| fault | required behaviour | test |\n|---|---|---|\n" + "\n".join(rows[area]) + "\n"
            )
    return "\n".join(parts)


def row(item, fault, behaviour):
    parameters = item.callspec.params if hasattr(item, "callspec") else {}
    words = {name: word(value) for name, value in parameters.items()}
    cells = [text.format(**words).replace("|", "\\|") for text in (fault, behaviour)]
    return f"| {' | '.join(cells)} | `{item.path.relative_to(TESTS).as_posix()}::{item.originalname}` |"


def word(value):
    """Return the text of a parameter in the table."""
    if isinstance(value, dict):
        value = [f"{key.replace('__', '.')}={of_key}" for key, of_key in value.items()]
    if isinstance(value, list | tuple):
        return " ".join(map(word, value)) or "without settings"
    if callable(value):
        return value.__name__.removeprefix("make_").replace("_", " ")
    return str(getattr(value, "name", value)).replace("\n", " ")
