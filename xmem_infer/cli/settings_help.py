"""The output of `--help`, `--version` and `--completion bash`, generated from a command's dataclass."""

import dataclasses
import inspect
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any, get_args, get_origin, get_type_hints

from omegaconf import DictConfig, OmegaConf

from .. import __version__
from ..errors import UsageError

OPTIONS = (
    "-m with key=a,b runs every combination. --version tells the version, --completion bash prints a script for tab\n"
    'completion: eval "$(COMMAND --completion bash)". Exit codes: 0, 1 some videos failed, 2 usage, 3 environment.'
)
COMMENT = re.compile(r"^    (\w+):[^#\n]*(?:#\s*(.*))?$", re.MULTILINE)
COMPLETION = """\
_xmem_infer_%(name)s() {
    local line="${COMP_LINE:0:COMP_POINT}"
    local word="${line##* }" choices=""
    case "$word" in
%(cases)s
        *=*) ;;
        *) compopt -o nospace 2>/dev/null; COMPREPLY=($(compgen -W "%(keys)s" -- "$word")); return ;;
    esac
    COMPREPLY=($(compgen -W "$choices" -- "${word#*=}"))
}
_xmem_infer_script() {
    local script="${COMP_WORDS[1]##*/}"
    COMPREPLY=()
    ! declare -F "_xmem_infer_${script%%.py}" >/dev/null || "_xmem_infer_${script%%.py}"
}
complete -o default -F _xmem_infer_%(name)s %(commands)s
complete -o default -F _xmem_infer_script python python3"""


@dataclass(frozen=True)
class Setting:
    """A setting of a command.

    Attributes:
        key: Its full key.
        default: The default as typed on the command line.
        choices: All possible values, if they can be listed.
        comment: The comment in the dataclass.
    """

    key: str
    default: str
    choices: tuple[str, ...]
    comment: str


def information(arguments: Sequence[str], yaml: Path, schema: type) -> str | None:
    """Return the output of `--help`, `--version` or `--completion`, or None if none of them is given.

    Args:
        arguments: The command line arguments.
        yaml: The command's configuration. Its header describes the command, its values override the schema's defaults.
        schema: Dataclass of the settings.

    Raises:
        UsageError: Completion was requested for an unsupported shell.
    """
    if {"--help", "-h"} & set(arguments):
        return settings_help(yaml, schema)
    if "--version" in arguments:
        return f"xmem-infer {__version__}"
    if not any(argument.partition("=")[0] == "--completion" for argument in arguments):
        return None
    if " ".join(arguments).replace("=", " ") != "--completion bash":
        raise UsageError(f"{' '.join(arguments)}: tab completion is there for bash, as --completion bash")
    return completion(yaml, schema)


def settings_help(yaml: Path, schema: type) -> str:
    """Return the output of `--help`."""
    head = yaml.read_text(encoding="utf-8").partition("\ndefaults:")[0]
    lines = [line.lstrip("# ") for line in head.splitlines()]
    lines += ["", "Settings, as key=value, with their defaults:"]
    for setting in settings(yaml, schema):
        choices = "" if setting.choices == ("true", "false") else " | ".join(setting.choices)
        words = "; ".join(filter(None, (choices, setting.comment)))
        lines.append(f"  {f'{setting.key}={setting.default}':<40}  {words}".rstrip())
    lines.append("")
    lines += [f"Ready-made, {group}=NAME: {', '.join(names)}" for group, names in ready_made(yaml, schema).items()]
    return "\n".join([*lines, OPTIONS])


def completion(yaml: Path, schema: type) -> str:
    """Return the output of `--completion bash`: a script that completes keys, their choices, and file names."""
    choices = {setting.key: setting.choices for setting in settings(yaml, schema)} | ready_made(yaml, schema)
    cases = [f'        {key}=*) choices="{" ".join(values)}" ;;' for key, values in choices.items() if values]
    name = yaml.stem
    return COMPLETION % {
        "name": name,
        "cases": "\n".join(cases),
        "keys": " ".join(f"{key}=" for key in choices),
        "commands": f"{name}.py xmem-infer" if name == "eval" else f"{name}.py",
    }


def ready_made(yaml: Path, schema: type) -> dict[str, tuple[str, ...]]:
    """Return the config names by config group; for experiments, only those that apply to this command."""
    composed = OmegaConf.load(yaml)
    groups = [str(key) for entry in composed.defaults if isinstance(entry, DictConfig) for key in entry]
    own = {field.name for field in dataclasses.fields(schema)}
    paths_of = {group: sorted((yaml.parent / group).glob("*.yaml")) for group in groups}
    experiments = paths_of.get("experiment", ())
    paths_of["experiment"] = [path for path in experiments if OmegaConf.load(path).keys() - {"defaults"} <= own]
    return {group: tuple(path.stem for path in paths) for group, paths in paths_of.items() if paths}


def settings(yaml: Path, schema: type) -> Iterator[Setting]:
    """Yield every setting that a command reads."""
    given = OmegaConf.load(yaml)
    assert isinstance(given, DictConfig)
    return _settings(schema, "", given)


def _settings(schema: type, prefix: str, given: DictConfig, unread: Sequence[str] = ()) -> Iterator[Setting]:
    hints, comments = get_type_hints(schema), dict(COMMENT.findall(inspect.getsource(schema)))
    for field in dataclasses.fields(schema):
        key, kind = f"{prefix}{field.name}", hints[field.name]
        if field.name in unread:
            continue
        if isinstance(kind, type) and dataclasses.is_dataclass(kind):
            yield from _settings(kind, f"{key}.", given, field.metadata.get("unread", ()))
            continue
        default = field.default if field.default_factory is dataclasses.MISSING else field.default_factory()
        shown = _as_typed(OmegaConf.select(given, key, default=default))
        yield Setting(key, shown, _choices(kind), comments.get(field.name, ""))


def _choices(kind: Any) -> tuple[str, ...]:
    if get_origin(kind) is not list and (inner := get_args(kind)):
        kind = inner[0]  # X of `X | None`
    if isinstance(kind, type) and issubclass(kind, Enum):
        return tuple(member.name for member in kind)
    return ("true", "false") if kind is bool else ()


def _as_typed(value: Any) -> str:
    """Return a value as typed on the command line."""
    if OmegaConf.is_config(value):
        value = OmegaConf.to_container(value)
    if isinstance(value, Enum):
        return str(value.name)
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, dict):
        return f"{{{','.join(f'{key}:{_as_typed(inner)}' for key, inner in value.items())}}}"
    return f"[{','.join(map(_as_typed, value))}]" if isinstance(value, list | tuple) else str(value)
