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


class Stages:
    """Calls `observer(stage)` around every stage. The observer can be replaced at any time.

    Attributes:
        observer: Returns a context manager for a stage name.
        remembered: The features and value added to memory last; None before the first frame.
    """

    def __init__(self) -> None:
        self.observer: Callable[[str], AbstractContextManager[Any]] = nullcontext
        self.remembered: tuple[Any, Tensor] | None = None

    def around(self, stage: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """Wrap a function so that each call is observed as this stage."""

        def observed(*args: Any, **kwargs: Any) -> Any:
            with self.observer(stage):
                return function(*args, **kwargs)

        return observed


def observed_engine(variant: Variant, config: MemoryConfig, stages: Stages) -> Engine:
    """Build the variant's engine with network and memory observed."""
    network = variant.prepared.network
    observed: Any = SimpleNamespace(
        conventions=network.conventions,
        empty_state=network.empty_state,
        encode_image=stages.around(KEY_ENCODER, network.encode_image),
        encode_memory=stages.around(VALUE_ENCODER, network.encode_memory),
        segment=stages.around(DECODER, network.segment),
    )
    engine = Engine(observed, replace(config, kind=variant.memory))
    memory: Any = engine.new_memory

    def add(self: Any, frame: Any, value: Tensor, permanent: bool = False) -> None:
        stages.remembered = frame, value
        memory.add(self, frame, value, permanent)

    methods = {"read": stages.around(MEMORY_READ, memory.read), "add": stages.around(MEMORY_WRITE, add)}
    # A subclass, not a wrapper, so that a memory copied with a video's state is still observed.
    engine.new_memory = type(memory.__name__, (memory,), methods)
    return engine


class FlopMeter(FlopCounterMode):
    """Counts floating point operations of convolutions and matrix products, by stage.

    Use `with meter: ...` to count and `meter(stage)` to add to stages[stage]. A multiply-add counts as two operations.
    Gathering, softmax, top-k and activations are not counted. Winograd's algorithm counts as the direct convolution.
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
