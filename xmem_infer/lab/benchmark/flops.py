"""Arithmetic by stage: floating point operations of convolutions and matrix products, counted as they run."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from math import prod
from types import TracebackType
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode


class FlopMeter:
    """`with meter: ...` counts; `meter(stage)` around a part of it adds to stages[stage].

    A multiplication and an addition are two operations. Gathering, softmax, top-k and activations are not counted.
    """

    def __init__(self) -> None:
        self._counter = FlopCounterMode(display=False, custom_mapping=_primitives())
        self.stages: dict[str, int] = {}

    def __enter__(self) -> "FlopMeter":
        self._counter.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._counter.__exit__(kind, error, trace)

    @contextmanager
    def __call__(self, stage: str) -> Iterator[None]:
        before = self._counter.get_total_flops()
        yield
        self.stages[stage] = self.stages.get(stage, 0) + self._counter.get_total_flops() - before


def _primitives() -> dict[Any, Callable[..., int]]:
    """oneDNN's own convolutions and products, where torch has them: its table of operations leaves them out."""
    names = ("_convolution_pointwise", "_convolution_pointwise_", "_linear_pointwise")
    return {getattr(torch.ops.mkldnn, name): _fused_flops for name in names if hasattr(torch.ops.mkldnn, name)}


def _fused_flops(first: Any, second: Any, third: Any, *rest: Any, out_shape: Any = None, **options: Any) -> int:
    """Shapes (input, weight, bias, ...) or, with a sum fused in, (input, summand, weight, ...)."""
    weight = third if third is not None and len(third) == len(first) else second
    return 2 * prod(out_shape) * prod(weight[1:])
