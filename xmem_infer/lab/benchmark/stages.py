"""An engine whose stages can be observed from outside, to time them or to count their operations."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import replace
from math import prod
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from ...config import MemoryConfig
from ...engine.engine import Engine
from .variants import Variant

KEY_ENCODER, MEMORY_READ, DECODER = "key encoder", "memory read", "decoder"
VALUE_ENCODER, MEMORY_WRITE = "value encoder", "memory write"
REST = "rest"  # remaining work of a frame: padding, soft aggregation of given masks, scheduling
FRAME_STAGES = (KEY_ENCODER, MEMORY_READ, DECODER, VALUE_ENCODER, MEMORY_WRITE, REST)


class ObservedEngine(Engine):
    """A variant's engine, which enters `observer(stage)` around every stage. The observer can be replaced at any time.

    `remembered` holds the features and the value that were added to memory last.
    """

    def __init__(self, variant: Variant, config: MemoryConfig):
        network = variant.prepared.network
        observed: Any = SimpleNamespace(
            conventions=network.conventions,
            empty_state=network.empty_state,
            encode_image=self._around(KEY_ENCODER, network.encode_image),
            encode_memory=self._around(VALUE_ENCODER, network.encode_memory),
            segment=self._around(DECODER, network.segment),
        )
        super().__init__(observed, replace(config, kind=variant.memory))
        self.observer: Callable[[str], AbstractContextManager[Any]] = nullcontext
        self.remembered: tuple[Any, Tensor]
        memory: Any = self.new_memory

        def add(stored: Any, *frame_and_value: Any) -> None:
            self.remembered = frame_and_value[:2]
            memory.add(stored, *frame_and_value)

        methods = {"read": self._around(MEMORY_READ, memory.read), "add": self._around(MEMORY_WRITE, add)}
        # A subclass, not a wrapper, so that a memory copied with a video's state is still observed.
        self.new_memory = type(memory.__name__, (memory,), methods)

    def _around(self, stage: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def observed(*args: Any) -> Any:
            with self.observer(stage):
                return function(*args)

        return observed


class FlopMeter(FlopCounterMode):
    """Counts floating point operations of convolutions and matrix products, by stage; a multiply-add counts as two.

    Use `with meter: ...` to count and `meter(stage)` to add to stages[stage]. Gathering, softmax, top-k and activations
    are not counted. Winograd's algorithm counts as the direct convolution.
    """

    def __init__(self) -> None:
        # torch's own table of operations lacks NNPACK's convolutions and oneDNN's fused convolutions and products.
        names = ("_convolution_pointwise", "_convolution_pointwise_", "_linear_pointwise")
        fused = [getattr(torch.ops.mkldnn, name) for name in names if hasattr(torch.ops.mkldnn, name)]
        fused.append(torch.ops.aten._nnpack_spatial_convolution)
        super().__init__(display=False, custom_mapping=dict.fromkeys(fused, _fused_flops))
        self.stages: dict[str, float] = {}

    @contextmanager
    def __call__(self, stage: str) -> Iterator[None]:
        before = self.get_total_flops()
        yield
        self.stages[stage] = self.stages.get(stage, 0) + self.get_total_flops() - before


def _fused_flops(first: Any, second: Any, third: Any, *rest: Any, out_shape: Any = None, **options: Any) -> int:
    """Count from the shapes (input, weight, bias, ...) or, with a fused sum, (input, summand, weight, ...)."""
    weight = third if third is not None and len(third) == len(first) else second
    return 2 * prod(out_shape) * prod(weight[1:])
