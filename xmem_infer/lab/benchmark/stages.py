"""An engine whose stages can be watched from outside: timed, or their arithmetic counted."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from typing import ParamSpec, TypeVar

from torch import Tensor

from ...config import MemoryConfig
from ...engine.engine import Engine
from ...memory.manager import Memory
from ...model.prepared import Prepared
from ...types import KeyFeatures
from .variants import Contender

KEY_ENCODER, MEMORY_READ, DECODER = "key encoder", "memory read", "decoder"
VALUE_ENCODER, MEMORY_WRITE = "value encoder", "memory write"
REST = "rest"  # of a frame: padding, soft aggregation of given masks, the schedule
FRAME_STAGES = (KEY_ENCODER, MEMORY_READ, DECODER, VALUE_ENCODER, MEMORY_WRITE, REST)

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")
Observer = Callable[[str], AbstractContextManager[None]]


class Watch:
    """Enters `observer(stage)` around every stage; an observer is exchanged at will.

    added: what was last remembered, features and value of a frame.
    """

    def __init__(self) -> None:
        self.observer: Observer = unwatched
        self.added: tuple[KeyFeatures, Tensor] | None = None

    def around(self, stage: str, verb: Callable[Arguments, Result]) -> Callable[Arguments, Result]:
        """The verb, watched."""

        def watched(*args: Arguments.args, **kwargs: Arguments.kwargs) -> Result:
            with self.observer(stage):
                return verb(*args, **kwargs)

        return watched


def unwatched(stage: str) -> AbstractContextManager[None]:
    """Let a stage run."""
    return nullcontext()


def watched_engine(contender: Contender, config: MemoryConfig, watch: Watch) -> Engine:
    """The contender's engine with its verbs and its memory's watched."""
    prepared: Prepared = contender.prepared
    engine = contender.engine_class(
        replace(
            prepared,
            encode_key=watch.around(KEY_ENCODER, prepared.encode_key),
            encode_value=watch.around(VALUE_ENCODER, prepared.encode_value),
            segment=watch.around(DECODER, prepared.segment),
        ),
        config,
    )
    engine.memory_class = _watched_memory(engine.memory_class, watch)
    return engine


def _watched_memory(memory: type[Memory], watch: Watch) -> type[Memory]:
    def add(self: Memory, frame: KeyFeatures, value: Tensor) -> None:
        watch.added = frame, value
        memory.add(self, frame, value)

    verbs = {"read": watch.around(MEMORY_READ, memory.read), "add": watch.around(MEMORY_WRITE, add)}
    return type(memory.__name__, (memory,), verbs)
