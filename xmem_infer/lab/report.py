"""What the lab's reports share: a folder, a Markdown page with tables, a CSV. Pictures: charts.py."""

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ..io.atomic import disk_fault, write_whole


def output_folder(given: str | None, default: str) -> Path:
    """The folder of a report, made before any work to learn early that it cannot be.

    Raises:
        EnvironmentFault: It cannot be made or written to.
    """
    folder = Path(given or default).expanduser()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise disk_fault(error, folder) from error
    return folder


def write_page(path: Path, parts: Iterable[str]) -> None:
    """A Markdown page of paragraphs, tables and headings; empty parts are left out. Raises EnvironmentFault."""
    text = "\n\n".join(part for part in parts if part) + "\n"
    write_whole(path, lambda to: to.write_text(text, encoding="utf-8"))


def write_csv(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """A CSV with the keys of the first row as its head; None is an empty cell. Raises EnvironmentFault."""
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, list(rows[0]) if rows else [], lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_whole(path, lambda to: to.write_text(text.getvalue(), encoding="utf-8"))


def table(head: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """A Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(str(cell) for cell in line) + " |" for line in lines)


def setting(context: Mapping[str, Any]) -> str:
    """What was measured where, as a table. context: `machine`, `subject` and `versions`, each a mapping."""
    rows = [(key.replace("_", " "), value) for key, value in {**context["machine"], **context["subject"]}.items()]
    versions = ", ".join(f"{name} {version}" for name, version in context["versions"].items())
    return table(("setting", ""), [*rows, ("versions", versions)])


def number(value: float | None) -> str:
    """With one digit after the point; "-" for None."""
    return "-" if value is None else f"{value:,.1f}"


def megabytes(value: float | None) -> str:
    """Bytes as MB (1e6 bytes) with one digit after the point; "-" for None."""
    return "-" if value is None else f"{value / 1e6:,.1f}"
