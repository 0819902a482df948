"""The metadata of a project (objects, references, absences) as an immutable value, and the edits of it."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from PIL.ImageColor import getrgb

from ..io.palette import visible_colours, with_colours
from ..types import ObjectConfidence


@dataclass(frozen=True)
class Document:
    """Everything in a project besides the masks. Edits return a new document instead of changing it in place.

    Attributes:
        objects: `name` and `colour` (#rrggbb) by object id.
        references: Indices of the frames whose masks were given by the user, ascending.
        absent: Ranges of frames (first, last), both inclusive, in which an object is absent, by object id.
    """

    objects: dict[int, dict[str, str]] = field(default_factory=dict)
    references: tuple[int, ...] = ()
    absent: dict[int, list[tuple[int, int]]] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        objects = [{"id": object_id, **described} for object_id, described in sorted(self.objects.items())]
        return {"objects": objects, "references": list(self.references), "absent": self.absent}

    @classmethod
    def from_json(cls, saved: dict[str, Any]) -> "Document":
        absent = {int(key): [(first, last) for first, last in spans] for key, spans in saved["absent"].items()}
        objects = {item["id"]: {"name": item["name"], "colour": item["colour"]} for item in saved["objects"]}
        return cls(objects, tuple(saved["references"]), absent)

    def changed(self, object_id: int, name: str | None, colour: str | None) -> "Document":
        """Change the name and the colour of an object, unless they are None."""
        old = self.objects[object_id]
        new = {"name": name or old["name"], "colour": colour or old["colour"]}
        return replace(self, objects={**self.objects, object_id: new})

    def present(self, confidence: Mapping[int, ObjectConfidence], index: int) -> dict[int, ObjectConfidence]:
        """Return the confidence, by object id, of those objects that are not absent on frame `index`."""
        absent = {key for key, spans in self.absent.items() if any(first <= index <= last for first, last in spans)}
        return {object_id: seen for object_id, seen in confidence.items() if object_id not in absent}

    def colours(self) -> dict[int, tuple[int, int, int]]:
        """Return the (red, green, blue) of the objects by id."""
        return {object_id: getrgb(described["colour"])[:3] for object_id, described in self.objects.items()}

    def palette(self) -> bytes:
        """Return the palette of the masks, 768 bytes: the colours of the objects, DAVIS colours for all other ids."""
        return with_colours(None, self.colours())


def with_objects(document: Document, ids: Iterable[int], palette: bytes | None = None) -> Document:
    """Add the ids that the document does not have yet, with their colours in `palette`, 768 bytes."""
    colours = visible_colours(palette)
    new = {key: {"name": f"object {key}", "colour": f"#{colours[key].tobytes().hex()}"} for key in ids if key}
    return replace(document, objects={**new, **document.objects})


def with_shown(document: Document, index: int, shown: Iterable[int], painted: Iterable[int]) -> Document:
    """Update absences from a painted mask: objects in `shown` are present, other objects in `painted` are absent."""
    present = set(shown)
    absent = {object_id for object_id in painted if object_id in document.objects} - present
    for object_id in present | absent:
        document = with_absence(document, object_id, index, index, object_id in absent)
    return document


def with_absence(document: Document, object_id: int, first: int, last: int, absent: bool) -> Document:
    """Mark an object as absent, or as present, in the frames `first` to `last` (inclusive)."""
    frames = {index for start, end in document.absent.get(object_id, []) for index in range(start, end + 1)}
    changed = range(first, last + 1)
    spans: list[tuple[int, int]] = []
    for index in sorted(frames.union(changed) if absent else frames.difference(changed)):
        if spans and index == spans[-1][1] + 1:
            spans[-1] = (spans[-1][0], index)
        else:
            spans.append((index, index))
    absences = {**document.absent, object_id: spans}
    return replace(document, absent={key: ranges for key, ranges in sorted(absences.items()) if ranges})
