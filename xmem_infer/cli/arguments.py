"""Command line arguments: conversion to Hydra overrides, and readable messages for errors of Hydra and OmegaConf."""

import dataclasses
import difflib
import re
from collections.abc import Iterator
from enum import Enum
from pathlib import Path
from typing import Any, get_args, get_origin, get_type_hints

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException, MissingConfigException, OverrideParseException
from omegaconf.errors import MissingMandatoryValue, OmegaConfBaseException

from ..config import configs_dir
from ..errors import UsageError

RENAMED = {"engine": "executor"}  # old names of settings
POSITIONAL = ("video_dir", "mask", "masks", "format")  # positional arguments: VIDEO [MASK], MASKS FORMAT
FLAG_WITH_VALUE = re.compile(r"-c|-p|-i|-c[pnd]|--cfg|--package|--info|--config-\w+")  # options of Hydra
HYDRA_FLAG = re.compile(  # all options of Hydra
    r"-[hmrscpi]|-c[pnd]|--(help|multirun|run|resolve|cfg|package|info|hydra-help|shell-completion|config-\w+|experimental-rerun)"
    "(=.*)?"
)
QUOTED = re.compile(r"""^(['"]).*\1$""", re.DOTALL)


def settings_from(arguments: list[str], schema: type) -> list[str]:
    """Return the overrides to call Hydra with.

    Positional arguments get their keys. Text is quoted so that Hydra reads it literally; in a multirun (-m), text that
    Hydra's grammar reads as a sweep is left as it is.

    Raises:
        UsageError: An unknown setting (the message suggests the nearest), an unknown name of a config group, an unknown
            option, or too many positional arguments.
    """
    sweep = bool({"-m", "--multirun"} & set(arguments))
    names = [name for name in POSITIONAL if name in _fields(schema)]
    remaining = list(names)
    overrides: list[str] = []
    before = ""
    for argument in arguments:
        if FLAG_WITH_VALUE.fullmatch(before) or HYDRA_FLAG.fullmatch(argument):
            overrides.append(argument)
        elif argument.startswith("-"):
            name = argument.strip("-").partition("=")[0].replace("-", "_")
            meant = next((key for key in _all_keys(schema) if name in (key, key.rpartition(".")[2])), None)
            hint = f" Did you mean {meant}=...?" if meant else ""
            raise UsageError(f"there is no option {argument!r}.{hint} Settings are key=value; --help lists them")
        elif _is_setting(argument, schema):
            overrides += _checked(argument, schema, sweep, arguments)
        elif not remaining:
            given = f"{' and '.join(names)} are given already" if names else "settings are key=value"
            raise UsageError(f"{argument!r} is one word too many: {given}")
        else:
            overrides += _checked(f"{remaining.pop(0)}={argument}", schema, sweep, arguments)
        before = argument
    keys = [text.partition("=")[0] for text in overrides]
    for name in names:
        if keys.count(name) > 1:
            raise UsageError(f"{name} is given twice")
    return overrides


def check_key(key: str, schema: type) -> Any:
    """Return the type of a setting. Raises UsageError with a suggestion and the possible keys if there is none."""
    parent, here = "", schema
    for part in key.split("."):
        names = _fields(here)
        if part not in names:
            near = [RENAMED[key]] if key in RENAMED else difflib.get_close_matches(part, names, n=1)
            deeper = [known for known in _all_keys(schema) if known.endswith(f".{key}")]
            suggestion = f"{parent}{near[0]}" if near else next(iter(deeper), "")
            hint = f" Did you mean {suggestion}?" if suggestion else ""
            where = f"under {parent[:-1]}" if parent else "at the top"
            choices = ", ".join(names) or "none, it is a single value"
            raise UsageError(f"there is no setting {key!r}.{hint} Settings {where}: {choices}")
        kind = get_type_hints(here)[part]
        here = _inner(kind)
        parent += f"{part}."
    return kind


def explained(error: Exception, schema: type) -> UsageError:
    """Return an error of Hydra or OmegaConf as a one-line message that says what to do."""
    if isinstance(error, OverrideParseException):
        key = str(error.override).partition("=")[0]
        return UsageError(
            f"cannot read {error.override!r}: names with spaces, commas, brackets, braces or quotes in them go in "
            f"quotes, and the whole in others for the shell: '{key}=\"a (1)\"', in a list '{key}=[\"a (1)\",b]'"
        )
    if isinstance(error, MissingConfigException) and error.options is not None:
        group, _, name = str(error.missing_cfg_file).rpartition("/")
        return _not_possible(group, name, f"one of {', '.join(error.options)}")
    if merging := re.match("Error merging override (.*)", str(error), re.DOTALL):
        key, _, value = merging[1].lstrip("+").partition("=")
        return _not_possible(key, value, _allowed(key, check_key(key, schema)))
    if foreign := re.match(r"In '(\w+)/(.+)': ConfigKeyError .*\nKey '(\w+)' not in", str(error)):
        return UsageError("{}={} is of another command: this one has no setting {!r}".format(*foreign.groups()))
    reason = str(error).partition("\n")[0].rpartition("resolving interpolation: ")[2].strip('"')
    setting = getattr(error, "full_key", None)
    if isinstance(error, MissingMandatoryValue):
        return UsageError(f"{setting}=??? has to be given")
    return UsageError(f"{setting} cannot be resolved: {reason}" if setting else reason)


def _is_setting(argument: str, schema: type) -> bool:
    """Return whether an argument is a setting (key=value or ~key) rather than a path, which may contain = and ~ too."""
    if argument.startswith("~") and "/" not in argument:
        return True
    key, equals, _ = argument.lstrip("+~").partition("=")
    if equals and (key.partition(".")[0] in _fields(schema) or _group(key) or key.startswith("hydra")):
        return True
    return bool(equals) and not Path(argument).exists() and "/" not in key


def _checked(argument: str, schema: type, sweep: bool, arguments: list[str]) -> Iterator[str]:
    key, equals, value = argument.lstrip("+~").partition("=")
    if not equals or key.startswith("hydra"):
        yield argument
    elif names := _group(key):
        if value == "null" and key in ("dataset", "experiment"):
            return  # the default
        if not sweep and value not in names and re.fullmatch(r"[\w.-]*", value):
            raise _not_possible(key, value, f"one of {', '.join(names)}")
        yield argument
    else:
        kind = check_key(key, schema)
        if key.startswith("dataset.") and not any(word.lstrip("+").startswith("dataset=") for word in arguments):
            raise UsageError(f"{key} can only be used with dataset=NAME: {', '.join(_group('dataset'))}")
        verbatim = str in (kind, *get_args(kind)) and get_origin(kind) is not list and value not in ("", "null")
        if not verbatim or QUOTED.match(value) or (sweep and _is_sweep(argument)):
            yield argument
        else:
            # In Hydra's quoted strings, backslashes count as escapes only if a quote follows them.
            inside = re.sub(r"(\\*)('|$)", lambda found: found[1] * 2 + ("\\'" if found[2] else ""), value)
            yield f"{argument[: len(argument) - len(value)]}'{inside}'"


def _is_sweep(argument: str) -> bool:
    try:
        return bool(OverridesParser.create().parse_override(argument).is_sweep_override())
    except HydraException:
        return False


def _group(key: str) -> list[str]:
    """Return the names in a config group; empty if `key` is no group."""
    folder = configs_dir() / key.partition("@")[0]
    return sorted(path.stem for path in folder.glob("*.yaml")) if key and "/" not in key and folder.is_dir() else []


def _fields(kind: Any) -> list[str]:
    return [field.name for field in dataclasses.fields(kind)] if dataclasses.is_dataclass(kind) else []


def _inner(kind: Any) -> Any:
    """Return the dataclass inside `X | None`."""
    return next((option for option in get_args(kind) if dataclasses.is_dataclass(option)), kind)


def _all_keys(schema: Any, prefix: str = "") -> Iterator[str]:
    for name in _fields(schema):
        yield f"{prefix}{name}"
        yield from _all_keys(_inner(get_type_hints(schema)[name]), f"{prefix}{name}.")


def _not_possible(key: str, value: str, allowed: str) -> UsageError:
    return UsageError(f"{key}={value} is not possible: it must be {allowed}")


def _allowed(key: str, kind: Any) -> str:
    """Describe the values that a setting accepts."""
    options = [option for option in get_args(kind) if option is not type(None)]
    if type(None) in get_args(kind):
        return f"null or {_allowed(key, options[0])}"
    if get_origin(kind) is list and isinstance(options[0], type) and issubclass(options[0], Enum):
        return f"a list of {', '.join(member.name for member in options[0])}"
    if get_origin(kind) is list:
        return f"a list, as in {key}=[{'480,600' if options == [int] else 'a,b'}]"
    if isinstance(kind, type) and issubclass(kind, Enum):
        return f"one of {', '.join(member.name for member in kind)}"
    if dataclasses.is_dataclass(kind):
        return f"set key by key, as in {key}.{_fields(kind)[0]}=..."
    return {int: "a whole number", float: "a number", bool: "true or false"}.get(kind, "text")


HYDRA_ERRORS = (HydraException, OmegaConfBaseException)
