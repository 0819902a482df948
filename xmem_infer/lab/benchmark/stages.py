"""An engine whose stages can be observed from outside: timed, or their arithmetic counted."""

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
REST = "rest"  # of a frame: padding, soft aggregation of given masks, the schedule
FRAME_STAGES = (KEY_ENCODER, MEMORY_READ, DECODER, VALUE_ENCODER, MEMORY_WRITE, REST)


class Stages:
    """Enters `observer(stage)` around every stage; the observer can be exchanged at any time.

    Attributes:
        observer: A context manager by the name of a stage.
        remembered: What was added to memory last: a frame's features and its value; None before the first.
    """

    def __init__(self) -> None:
        self.observer: Callable[[str], AbstractContextManager[Any]] = nullcontext
        self.remembered: tuple[Any, Tensor] | None = None

    def around(self, stage: str, verb: Callable[..., Any]) -> Callable[..., Any]:
        """The verb, observed as this stage."""

        def observed(*args: Any, **kwargs: Any) -> Any:
            with self.observer(stage):
                return verb(*args, **kwargs)

        return observed


def observed_engine(variant: Variant, config: MemoryConfig, stages: Stages) -> Engine:
    """The variant's engine, network and memory observed."""
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

    verbs = {"read": stages.around(MEMORY_READ, memory.read), "add": stages.around(MEMORY_WRITE, add)}
    # A subclass, not a wrapper: copies of a video's state copy the memory with its verbs.
    engine.new_memory = type(memory.__name__, (memory,), verbs)
    return engine


class FlopMeter(FlopCounterMode):
    """`with meter: ...` counts the operations of convolutions and products; `meter(stage)` adds to stages[stage].

    A multiplication and an addition are two operations. Gathering, softmax, top-k and activations are not counted.
    """

    def __init__(self) -> None:
        # torch's own table of operations leaves out oneDNN's convolutions and products.
        names = ("_convolution_pointwise", "_convolution_pointwise_", "_linear_pointwise")
        fused = [getattr(torch.ops.mkldnn, name) for name in names if hasattr(torch.ops.mkldnn, name)]
        super().__init__(display=False, custom_mapping=dict.fromkeys(fused, _fused_flops))
        self.stages: dict[str, float] = {}

    @contextmanager
    def __call__(self, stage: str) -> Iterator[None]:
        before = self.get_total_flops()
        yield
        self.stages[stage] = self.stages.get(stage, 0) + self.get_total_flops() - before


def _fused_flops(first: Any, second: Any, third: Any, *rest: Any, out_shape: Any = None, **options: Any) -> int:
    """Shapes (input, weight, bias, ...) or, with a sum fused in, (input, summand, weight, ...)."""
    weight = third if third is not None and len(third) == len(first) else second
    return 2 * prod(out_shape) * prod(weight[1:])
