"""An engine whose stages can be observed from outside: timed, or their arithmetic counted."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from typing import Any, ParamSpec, TypeVar

from torch import Tensor

from ...config import MemoryConfig
from ...engine.engine import Engine
from ...model.family import Network
from .variants import Variant

KEY_ENCODER, MEMORY_READ, DECODER = "key encoder", "memory read", "decoder"
VALUE_ENCODER, MEMORY_WRITE = "value encoder", "memory write"
REST = "rest"  # of a frame: padding, soft aggregation of given masks, the schedule
FRAME_STAGES = (KEY_ENCODER, MEMORY_READ, DECODER, VALUE_ENCODER, MEMORY_WRITE, REST)

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")
Observer = Callable[[str], AbstractContextManager[None]]


class Stages:
    """Enters `observer(stage)` around every stage; the observer can be exchanged at any time.

    Attributes:
        observer: A context manager by the name of a stage.
        remembered: What was added to memory last: a frame's features and its value; None before the first.
    """

    def __init__(self) -> None:
        self.observer: Observer = unobserved
        self.remembered: tuple[Any, Tensor] | None = None

    def around(self, stage: str, verb: Callable[Arguments, Result]) -> Callable[Arguments, Result]:
        """The verb, observed as this stage."""

        def observed(*args: Arguments.args, **kwargs: Arguments.kwargs) -> Result:
            with self.observer(stage):
                return verb(*args, **kwargs)

        return observed


def unobserved(stage: str) -> AbstractContextManager[None]:
    """An observer that does nothing."""
    return nullcontext()


class ObservedNetwork:
    """A network's verbs, observed."""

    def __init__(self, network: Network, stages: Stages):
        self.conventions, self.empty_state = network.conventions, network.empty_state
        self.encode_image = stages.around(KEY_ENCODER, network.encode_image)
        self.encode_memory = stages.around(VALUE_ENCODER, network.encode_memory)
        self.segment = stages.around(DECODER, network.segment)


def observed_engine(variant: Variant, config: MemoryConfig, stages: Stages) -> Engine:
    """The variant's engine, network and memory observed."""
    engine = Engine(ObservedNetwork(variant.prepared.network, stages), replace(config, kind=variant.memory))
    engine.new_memory = _observed_memory(engine.new_memory, stages)
    return engine


def _observed_memory(memory: Any, stages: Stages) -> Any:
    """A subclass, not a wrapper: copies of a video's state copy the memory with its verbs."""

    def add(self: Any, frame: Any, value: Tensor, permanent: bool = False) -> None:
        stages.remembered = frame, value
        memory.add(self, frame, value, permanent)

    verbs = {"read": stages.around(MEMORY_READ, memory.read), "add": stages.around(MEMORY_WRITE, add)}
    return type(memory.__name__, (memory,), verbs)
