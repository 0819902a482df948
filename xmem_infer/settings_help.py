"""The text of `--help`: every setting with its default and the comment that stands beside it in its dataclass."""

import dataclasses
import inspect
import re
from collections.abc import Iterator
from enum import Enum
from pathlib import Path
from typing import Any, get_args, get_type_hints

from omegaconf import DictConfig, OmegaConf

END = "-m with key=a,b runs every combination. Exit codes: 0, 1 some videos failed, 2 usage, 3 environment."
COMMENT = re.compile(r"^    (\w+):[^#\n]*(?:#\s*(.*))?$", re.MULTILINE)


def settings_help(yaml: Path, schema: type) -> str:
    """What `--help` prints.

    Args:
        yaml: The program's configuration; its head says what the program does, its values outweigh the schema's.
        schema: Dataclass of the settings.
    """
    text = yaml.read_text(encoding="utf-8")
    about = [line.lstrip("# ") for line in text.partition("\ndefaults:")[0].splitlines()]
    given = OmegaConf.create(text)
    assert isinstance(given, DictConfig)
    groups = [str(key) for entry in given.defaults if isinstance(entry, DictConfig) for key in entry]
    lines = [*about, "", "Settings, as key=value, with their defaults:", *_lines(schema, "", given)]
    lines.append("")
    for group in groups:
        if (yaml.parent / group).is_dir():
            names = sorted(path.stem for path in (yaml.parent / group).glob("*.yaml"))
            lines.append(f"Ready-made, {group}=NAME: {', '.join(names)}")
    return "\n".join([*lines, END])


def _lines(schema: type, prefix: str, given: DictConfig) -> Iterator[str]:
    hints, comments = get_type_hints(schema), dict(COMMENT.findall(inspect.getsource(schema)))
    for field in dataclasses.fields(schema):
        key, kind = f"{prefix}{field.name}", hints[field.name]
        inner = next((option for option in (kind, *get_args(kind)) if dataclasses.is_dataclass(option)), None)
        if isinstance(inner, type) and not _is_list(kind):
            yield from _lines(inner, f"{key}.", given)
            continue
        default = field.default if field.default_factory is dataclasses.MISSING else field.default_factory()
        shown = f"{key}={_as_typed(OmegaConf.select(given, key, default=default))}"
        words = [comments.get(field.name, "")]
        if isinstance(kind, type) and issubclass(kind, Enum):
            words.insert(0, " | ".join(member.name for member in kind))
        comment = "; ".join(filter(None, words))
        yield f"  {shown:<40}  {comment}".rstrip()


def _is_list(kind: Any) -> bool:
    return getattr(kind, "__origin__", None) in (list, dict)


def _as_typed(value: Any) -> str:
    """A value as it is written on the command line."""
    if isinstance(value, Enum):
        return str(value.name)
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if OmegaConf.is_config(value):
        value = OmegaConf.to_container(value)
    return f"[{','.join(map(_as_typed, value))}]" if isinstance(value, list) else str(value)
