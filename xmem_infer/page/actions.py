"""What a browser may ask for: every action with its values, checked before anything is done."""

import json
import re
from collections.abc import Callable
from typing import Any

from ..errors import UsageError

WAYS = ("grabcut", "walker")  # of suggesting a mask
MAX_NAME = 80  # letters of an object's name
MAX_CLICKS, MAX_COORDINATE = 200, 1e6
DIRECTIONS = ("forward", "backward", "both")


def _whole(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or abs(value) > 2**31:
        raise ValueError("a whole number")
    return value


def _flag(value: object) -> bool:
    if not isinstance(value, bool):
        raise ValueError("true or false")
    return value


def _name(value: object) -> str:
    if not isinstance(value, str) or not value.strip() or len(value) > MAX_NAME or not value.isprintable():
        raise ValueError(f"text of 1 to {MAX_NAME} letters")
    return value.strip()


def _colour(value: object) -> str:
    if not isinstance(value, str) or not re.fullmatch("#[0-9a-fA-F]{6}", value):
        raise ValueError("a colour like #ff8800")
    return value.lower()


def _one_of(*choices: str) -> "Reader":
    def read(value: object) -> str:
        if not isinstance(value, str) or value not in choices:
            raise ValueError(f"one of {', '.join(choices)}")
        return value

    return read


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise ValueError("text")
    return value


def _numbers(value: object, count: int) -> tuple[float, ...]:
    is_list = isinstance(value, list) and len(value) == count
    if not is_list or not all(type(one) in (int, float) and abs(one) <= MAX_COORDINATE for one in value):  # type: ignore[attr-defined]
        raise ValueError(f"a list of {count} numbers")
    return tuple(value)  # type: ignore[arg-type]


def _box(value: object) -> tuple[float, ...]:
    x0, y0, x1, y1 = _numbers(value, 4)
    if x1 - x0 < 1 or y1 - y0 < 1:
        raise ValueError("[x0, y0, x1, y1] with x0 < x1 and y0 < y1")
    return x0, y0, x1, y1


def _clicks(value: object) -> list[tuple[float, float, int]]:
    if not isinstance(value, list) or len(value) > MAX_CLICKS:
        raise ValueError(f"a list of up to {MAX_CLICKS} clicks [x, y, 1 or -1]")
    return [(x, y, 1 if sign > 0 else -1) for x, y, sign in (_numbers(one, 3) for one in value)]


Reader = Callable[[object], Any]
# Action -> its method of the session and the readers of its values, by the name in the request; a name that ends in "?"
# may be left out or null.
ACTIONS: dict[str, tuple[str, dict[str, Reader]]] = {
    "add_object": ("add_object", {"name?": _name, "colour?": _colour}),
    "rename_object": ("rename_object", {"object": _whole, "name": _name}),
    "recolour_object": ("recolour_object", {"object": _whole, "colour": _colour}),
    "remove_object": ("remove_object", {"object": _whole}),
    "set_absent": ("set_absent", {"object": _whole, "first": _whole, "last": _whole, "absent": _flag}),
    "remove_reference": ("remove_reference", {"index": _whole}),
    "goto": ("check_index", {"index": _whole}),
    "next_to_fix": ("next_to_fix", {}),
    "propagate": ("propagate", {"from": _whole, "direction": _one_of(*DIRECTIONS), "first?": _whole, "last?": _whole}),
    "stop": ("stop", {}),
    "undo": ("undo", {}),
    "redo": ("redo", {}),
}
SUGGESTION: dict[str, Reader] = {
    "way": _one_of(*WAYS),
    "object": _whole,
    "box?": _box,
    "clicks?": _clicks,
    "base?": _flag,
}
EXPORT: dict[str, Reader] = {"format": _text}
KEYWORDS = {"from": "index", "object": "object_id"}  # arguments that have another name in Python


def read_action(action: object) -> tuple[str, dict[str, Any]]:
    """The session's method and its arguments. Raises UsageError for an action that is none."""
    if not isinstance(action, dict) or str(action.get("do")) not in ACTIONS:
        raise UsageError(f'an action is {{"do": NAME, ...}} with one of the names {", ".join(ACTIONS)}')
    method, readers = ACTIONS[action["do"]]
    return method, read_values({key: value for key, value in action.items() if key not in ("do", "id")}, readers)


def read_body(body: bytes, readers: dict[str, Reader]) -> dict[str, Any]:
    """Values of a request's JSON as keyword arguments. Raises UsageError."""
    try:
        found = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise UsageError("the body is no JSON") from error
    if not isinstance(found, dict):
        raise UsageError("the body is no JSON object")
    return read_values(found, readers)


def read_values(found: dict[str, Any], readers: dict[str, Reader]) -> dict[str, Any]:
    """Values of a JSON object as keyword arguments. Raises UsageError for one that is missing, wrong or unknown."""
    names = {key.rstrip("?"): key for key in readers}
    if unknown := set(found) - set(names):
        raise UsageError(f"there is no value {sorted(unknown)[0]!r} here; there are: {', '.join(names) or 'none'}")
    values = {}
    for name, key in names.items():
        value = found.get(name)
        if value is None and key.endswith("?"):
            continue
        try:
            values[KEYWORDS.get(name, name)] = readers[key](value)
        except ValueError as error:
            raise UsageError(f"{name} must be {error}, not {str(value)[:80]!r}") from None
    return values
