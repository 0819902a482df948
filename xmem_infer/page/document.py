"""Objects, references and absences of a project, as a value, and the values that edits make of it."""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from ..io.palette import visible_colours, with_colours

Spans = list[tuple[int, int]]


@dataclass(frozen=True)
class Document:
    """What a project holds besides masks: a value, never changed in place.

    Attributes:
        objects: Name and colour (#rrggbb) by object id.
        references: Indices of the frames whose masks were given, ascending.
        absent: By object id, the ranges of frames (first, last) in which the object is not there.
    """

    objects: dict[int, dict[str, str]] = field(default_factory=dict)
    references: tuple[int, ...] = ()
    absent: dict[int, list[tuple[int, int]]] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        objects = [{"id": one, **named} for one, named in sorted(self.objects.items())]
        return {"objects": objects, "references": list(self.references), "absent": self.absent}

    @classmethod
    def from_json(cls, said: dict[str, Any]) -> "Document":
        absent = {int(one): [(first, last) for first, last in spans] for one, spans in said["absent"].items()}
        objects = {one["id"]: {"name": one["name"], "colour": one["colour"]} for one in said["objects"]}
        return cls(objects, tuple(said["references"]), absent)

    def palette(self) -> bytes:
        """768 bytes: the objects' colours, DAVIS's for others."""
        return with_colours(None, {one: rgb(named["colour"]) for one, named in self.objects.items()})


def with_objects(document: Document, ids: Iterable[int], palette: bytes | None = None) -> Document:
    """The document with those of these ids that it does not know; colours from the palette of their mask."""
    colours = visible_colours(palette)
    unknown = [one for one in ids if one and one not in document.objects]
    new = {one: {"name": f"object {one}", "colour": hex_colour(colours[one])} for one in unknown}
    return replace(document, objects={**document.objects, **new}) if new else document


def hex_colour(colour: np.ndarray) -> str:
    """#rrggbb of (3,) uint8."""
    return "#" + bytes(colour.tolist()).hex()


def rgb(colour: str) -> tuple[int, int, int]:
    """The numbers of #rrggbb."""
    red, green, blue = bytes.fromhex(colour[1:])
    return red, green, blue


def with_shown(document: Document, index: int, shown: Iterable[int], painted: Iterable[int]) -> Document:
    """What a painted mask says of one frame: objects that it shows are there; painted ones that it does not are not."""
    there = set(shown)
    gone = {one for one in painted if one in document.objects} - there
    for one in there | gone:
        document = with_absence(document, one, index, index, one in gone)
    return document


def with_absence(document: Document, object_id: int, first: int, last: int, absent: bool) -> Document:
    """The object is absent, or is not, in the frames `first` to `last`."""
    spans: Spans = []
    for begin, end in document.absent.get(object_id, []):
        spans += [span for span in ((begin, min(end, first - 1)), (max(begin, last + 1), end)) if span[0] <= span[1]]
    if absent:
        spans.append((first, last))
    absences = {**document.absent, object_id: _joined(spans)}
    return replace(document, absent={one: found for one, found in sorted(absences.items()) if found})


def _joined(spans: Spans) -> Spans:
    joined: Spans = []
    for first, last in sorted(spans):
        if joined and first <= joined[-1][1] + 1:
            joined[-1] = (joined[-1][0], max(last, joined[-1][1]))
        else:
            joined.append((first, last))
    return joined
