"""What claims share that a few operations on small tensors decide: text and reason stand above the check."""

from collections.abc import Callable
from functools import wraps

import torch
from torch import Tensor

from .claims import Claim, Verdict

Found = tuple[Verdict, str]  # and what was seen, in words


def case(document: int, claim: str, why: str) -> Callable[[Callable[[], Found]], Callable[[], Claim]]:
    """Decorate a check, so that calling it gives the whole claim."""

    def complete(check: Callable[[], Found]) -> Callable[[], Claim]:
        @wraps(check)
        def checked() -> Claim:
            return Claim(document, claim, *check(), why)

        return checked

    return complete


def weight() -> Tensor:
    """A parameter of three ones."""
    return torch.ones(3, requires_grad=True)
