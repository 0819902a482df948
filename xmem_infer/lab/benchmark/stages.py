"""An engine whose stages can be watched from outside: timed, or their arithmetic counted."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from typing import Any, ParamSpec, TypeVar

from torch import Tensor

from ...config import MemoryConfig
from ...engine.engine import Engine
from ...model.family import Network
from .contenders import Contender

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
        self.added: tuple[Any, Tensor] | None = None

    def around(self, stage: str, verb: Callable[Arguments, Result]) -> Callable[Arguments, Result]:
        """The verb, watched."""

        def watched(*args: Arguments.args, **kwargs: Arguments.kwargs) -> Result:
            with self.observer(stage):
                return verb(*args, **kwargs)

        return watched


def unwatched(stage: str) -> AbstractContextManager[None]:
    """Let a stage run."""
    return nullcontext()


class WatchedNetwork:
    """A network's verbs, watched."""

    def __init__(self, network: Network, watch: Watch):
        self.empty_state = network.empty_state
        self.encode_image = watch.around(KEY_ENCODER, network.encode_image)
        self.encode_memory = watch.around(VALUE_ENCODER, network.encode_memory)
        self.segment = watch.around(DECODER, network.segment)


def watched_engine(contender: Contender, config: MemoryConfig, watch: Watch) -> Engine:
    """The contender's engine with its verbs and its memory's watched."""
    engine = Engine(WatchedNetwork(contender.prepared.network, watch), replace(config, kind=contender.memory))
    engine.new_memory = _watched_memory(engine.new_memory, watch)
    return engine


def _watched_memory(memory: Any, watch: Watch) -> Any:
    def add(self: Any, frame: Any, value: Tensor, permanent: bool = False) -> None:
        watch.added = frame, value
        memory.add(self, frame, value, permanent)

    verbs = {"read": watch.around(MEMORY_READ, memory.read), "add": watch.around(MEMORY_WRITE, add)}
    return type(memory.__name__, (memory,), verbs)
