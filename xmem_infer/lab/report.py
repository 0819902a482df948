"""Shared parts of the lab's reports: folder, Markdown page with tables, CSV. For pictures see charts.py."""

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
    """Create the folder of a report, before any work, so that a failure is found early. Raises EnvironmentFault."""
    folder = Path(path).expanduser()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise disk_fault(error, folder) from error
    return folder


def write_page(path: Path, parts: Iterable[str]) -> None:
    """Write a Markdown page of paragraphs, tables and headings; empty parts are skipped. Raises EnvironmentFault."""
    text = "\n\n".join(part for part in parts if part) + "\n"
    write_whole(path, lambda to: to.write_text(text, encoding="utf-8"))


def write_csv(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write a CSV whose columns are the keys of the first row; None becomes an empty cell. Raises EnvironmentFault."""
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, list(rows[0]) if rows else [], lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_whole(path, lambda to: to.write_text(text.getvalue(), encoding="utf-8"))


def table(head: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """Return a Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(str(cell) for cell in line) + " |" for line in lines)


def setting(device: torch.device, subject: Mapping[str, Any]) -> dict[str, Any]:
    """Return the conditions of a measurement by name: machine, device, `subject`, and versions."""
    packages = ", ".join(f"{name} {version}" for name, version in versions().items())
    return {"cpu": cpu_model(), **machine(device), **subject, "versions": packages}


def setting_table(conditions: Mapping[str, Any]) -> str:
    """Return the result of `setting` as a Markdown table."""
    return table(("setting", ""), [(name.replace("_", " "), value) for name, value in conditions.items()])


def cpu_model() -> str:
    """Return the name of the processor, as far as the system reports it."""
    with suppress(OSError):
        if match := re.search(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE):
            return match[1]
    return platform.processor() or platform.machine()


def number(value: float | None, form: str = ",.1f") -> str:
    """Format a number; "-" for None."""
    return "-" if value is None else f"{value:{form}}"


def megabytes(value: float | None) -> str:
    """Format bytes as MB (1e6 bytes) with one decimal; "-" for None."""
    return number(None if value is None else value / 1e6)
