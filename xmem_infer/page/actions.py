"""Schemas of all actions that a browser may send, and their validation."""

import json
from typing import Annotated, Any, Literal, get_args

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints, ValidationError, create_model

from ..errors import UsageError


def _printable(text: str) -> str:
    if not text.isprintable():
        raise ValueError("it must be printable")
    return text


def _box(sides: list[float]) -> list[float]:
    x0, y0, x1, y1 = sides
    if x1 - x0 < 1 or y1 - y0 < 1:
        raise ValueError("it must be [x0, y0, x1, y1] with x0 < x1 and y0 < y1")
    return sides


def _click(values: list[float]) -> tuple[float, float, int]:
    x, y, sign = values
    return x, y, 1 if sign > 0 else -1


Whole = Annotated[int, Field(ge=-(2**31), le=2**31)]
Name = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=80), AfterValidator(_printable)]
Colour = Annotated[str, StringConstraints(pattern="^#[0-9a-fA-F]{6}$", to_lower=True)]
Number = Annotated[float, Field(ge=-1e6, le=1e6)]
Box = Annotated[list[Number], Field(min_length=4, max_length=4), AfterValidator(_box)]
Click = Annotated[list[Number], Field(min_length=3, max_length=3), AfterValidator(_click)]
Clicks = Annotated[list[Click], Field(max_length=200)]
Direction = Literal["forward", "backward", "both"]


class Values(BaseModel):
    """Base of all schemas: unknown keys and other types are rejected."""

    model_config = ConfigDict(strict=True, extra="forbid")


def _values(**types: Any) -> type[Values]:
    """Create a schema from the type of each value. Values that may be None may be left out."""
    fields: Any = {name: (kind, None if type(None) in get_args(kind) else ...) for name, kind in types.items()}
    return create_model("Values", __base__=Values, **fields)


ACTIONS = {  # each calls the method of the session with the same name, unless METHODS has another one
    "add_object": _values(name=Name | None, colour=Colour | None),
    "rename_object": _values(object=Whole, name=Name),
    "recolour_object": _values(object=Whole, colour=Colour),
    "remove_object": _values(object=Whole),
    "set_absent": _values(object=Whole, first=Whole, last=Whole, absent=bool),
    "remove_reference": _values(index=Whole),
    "goto": _values(index=Whole),
    "next_to_fix": _values(),
    "propagate": _values(**{"from": Whole}, direction=Direction, first=Whole | None, last=Whole | None),
    "stop": _values(),
    "undo": _values(),
    "redo": _values(),
}
SUGGESTION = _values(object=Whole, box=Box | None, clicks=Clicks | None, base=bool | None)
EXPORT = _values(format=Name)
METHODS = {"goto": "check_index"}
KEYWORDS = {"from": "index", "object": "object_id"}  # arguments that are named differently in Python


def read_action(action: object) -> tuple[str, dict[str, Any]]:
    """Return the name of the session's method and its arguments. Raises UsageError for an invalid action."""
    if not isinstance(action, dict) or str(action.get("do")) not in ACTIONS:
        raise UsageError(f'an action is {{"do": NAME, ...}} with one of the names {", ".join(ACTIONS)}')
    name: str = action["do"]
    given = {key: value for key, value in action.items() if key not in ("do", "id")}
    return METHODS.get(name, name), read_values(given, ACTIONS[name])


def read_body(body: bytes, kind: type[Values]) -> dict[str, Any]:
    """Return the JSON object in the body of a request as keyword arguments. Raises UsageError if it is invalid."""
    try:
        values = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise UsageError("the request body is not JSON") from error
    if not isinstance(values, dict):
        raise UsageError("the request body is not a JSON object")
    return read_values(values, kind)


def read_values(given: dict[str, Any], kind: type[Values]) -> dict[str, Any]:
    """Return a JSON object as keyword arguments. Raises UsageError for a missing, invalid or unknown value."""
    try:
        values = kind.model_validate(given)
    except ValidationError as error:
        wrong = error.errors()[0]
        key = ".".join(map(str, wrong["loc"]))
        raise UsageError(f"{key} is not possible: {wrong['msg']}, got {str(wrong['input'])[:80]!r}") from None
    return {KEYWORDS.get(name, name): value for name, value in values if value is not None}
