"""What a browser may ask for: every action with its values, checked before anything is done."""

import re
from collections.abc import Callable
from typing import Any

from ..errors import UsageError

WAYS = ("grabcut", "walker")  # of suggesting a mask
MAX_NAME = 80  # letters of an object's name
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


def _direction(value: object) -> str:
    if not isinstance(value, str) or value not in DIRECTIONS:
        raise ValueError(f"one of {', '.join(DIRECTIONS)}")
    return value


Reader = Callable[[object], Any]
# Action -> its method of the session and the readers of its values, by the name in the request; a name that ends in "?"
# may be left out or null.
ACTIONS: dict[str, tuple[str, dict[str, Reader]]] = {
    "add_object": ("add_object", {"name?": _name, "colour?": _colour}),
    "propagate": ("propagate", {"from": _whole, "direction": _direction, "first?": _whole, "last?": _whole}),
    "stop": ("stop", {}),
    "undo": ("undo", {}),
    "redo": ("redo", {}),
}
KEYWORDS = {"from": "index", "object": "object_id"}  # arguments that have another name in Python


def read_action(action: object) -> tuple[str, dict[str, Any]]:
    """The session's method and its arguments. Raises UsageError for an action that is none."""
    if not isinstance(action, dict) or action.get("do") not in ACTIONS:
        raise UsageError(f'an action is {{"do": NAME, ...}} with one of the names {", ".join(ACTIONS)}')
    method, readers = ACTIONS[action["do"]]
    return method, read_values({key: value for key, value in action.items() if key not in ("do", "id")}, readers)


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
