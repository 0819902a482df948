"""What checking a document's claim gives."""

from dataclasses import dataclass, field
from enum import Enum
from typing import Any


class Verdict(Enum):
    holds = "holds"
    holds_in_part = "holds in part"
    does_not_hold = "does not hold"
    not_measured = "not measured"


@dataclass(frozen=True)
class Claim:
    """A claim held against evidence. document: 1-5; measured: the figures in words; why: two sentences."""

    document: int
    claim: str
    verdict: Verdict
    measured: str
    why: str
    figures: dict[str, Any] = field(default_factory=dict)


def verdict(*parts: bool) -> Verdict:
    """All parts true: holds; some: in part; none: does not hold."""
    if all(parts):
        return Verdict.holds
    return Verdict.holds_in_part if any(parts) else Verdict.does_not_hold


def refused(action: Any) -> str:
    """The first sentence of the error that calling `action` raises; empty where it raises none."""
    try:
        action()
    except (RuntimeError, ValueError) as error:
        return str(error).partition("\n")[0].partition(". ")[0]
    return ""
