"""Schemas of all actions that a browser may send, and their validation."""

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


ACTIONS = {  # each calls the method of the session with the same name
    "add_object": _values(name=Name | None, colour=Colour | None),
    "change_object": _values(object_id=Whole, name=Name | None, colour=Colour | None),
    "remove_object": _values(object_id=Whole),
    "set_absent": _values(object_id=Whole, first=Whole, last=Whole, absent=bool),
    "remove_reference": _values(index=Whole),
    "goto": _values(index=Whole),
    "next_to_fix": _values(),
    "propagate": _values(direction=Direction, first=Whole, last=Whole),
    "export": _values(format=Name, job=Annotated[int, Field(ge=0, le=2**53)]),
    "stop": _values(),
    "undo": _values(),
    "redo": _values(),
}
SUGGESTION = _values(object_id=Whole, box=Box | None, clicks=Clicks | None, base=bool | None)


class Action(BaseModel):
    """An action sent by a tab. `id` is returned with the answer; the other keys are arguments of the method `do`."""

    model_config = ConfigDict(strict=True, extra="allow")

    do: Annotated[str, StringConstraints(pattern=f"^({'|'.join(ACTIONS)})$")]
    id: int | None = None


def read_values(kind: type[BaseModel], given: dict[str, Any] | bytes | str) -> dict[str, Any]:
    """Return an object, decoded or as JSON, as keyword arguments. Raises UsageError if it does not fit the schema."""
    try:
        values = kind.model_validate(given) if isinstance(given, dict) else kind.model_validate_json(given)
    except ValidationError as error:
        wrong = error.errors()[0]
        key = ".".join(map(str, wrong["loc"])) or "the request"
        raise UsageError(f"{key} is not possible: {wrong['msg']}, got {str(wrong['input'])[:80]!r}") from None
    return {name: value for name, value in values if value is not None}
