"""What the lab's reports share: a folder, a Markdown page with tables, a CSV. Pictures: charts.py."""

import csv
import io
import platform
import re
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch

from ..evaluate.provenance import machine
from ..io.atomic import disk_fault, write_whole
from ..io.versions import versions


def output_folder(path: str | Path) -> Path:
    """The folder of a report, made before any work to learn early that it cannot be.

    Raises:
        EnvironmentFault: It cannot be made or written to.
    """
    folder = Path(path).expanduser()
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


def setting(device: torch.device, subject: Mapping[str, Any]) -> dict[str, Any]:
    """What was measured where, by name: this machine with the device that computes, the subject, versions."""
    found = ", ".join(f"{name} {version}" for name, version in versions().items())
    return {"cpu": cpu_model(), **machine(device), **subject, "versions": found}


def setting_table(found: Mapping[str, Any]) -> str:
    """What `setting` tells, as a table."""
    return table(("setting", ""), [(name.replace("_", " "), value) for name, value in found.items()])


def cpu_model() -> str:
    """The processor's name, as far as the system tells."""
    with suppress(OSError):
        found = re.search(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
        if found:
            return found[1]
    return platform.processor() or platform.machine()


def number(value: float | None, form: str = ",.1f") -> str:
    """As `form` says; "-" for None."""
    return "-" if value is None else f"{value:{form}}"


def megabytes(value: float | None) -> str:
    """Bytes as MB (1e6 bytes) with one digit after the point; "-" for None."""
    return number(None if value is None else value / 1e6)
