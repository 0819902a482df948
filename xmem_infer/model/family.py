"""What the engine asks of a network, whichever family it is of, and how families are found.

The engine does not look into features and object state: a family decides what it takes from a picture, what it
carries from frame to frame for each object, and what it stores of a memory frame.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from torch import Tensor, nn

from ..registry import Registry

ObjectState = dict[str, Tensor]
"""What is carried for each object, by name: tensors (1, O, ...) that are zero for a new object."""


@dataclass(frozen=True)
class Conventions:
    """What a network was trained with and leaves to the engine. The defaults are XMem's.

    Attributes:
        memory: Its memory by name, for memory.kind=auto.
        padding: Normalised colour of the pixels added at the sides.
        antialias: How pictures are made smaller where data.antialias=null.
        enlarge: Whether pictures below data.size are made larger.
        mask_resize: Mode of torch's interpolate for masks.
        staggered_updates: The object state is updated on memory.stagger_updates of memory_every frames, memory frames
            among them; otherwise on those that are no memory frames.
        summed: Names of the object state's entries that are sums over memory frames. Who begins a video anew with its
            memory keeps them; the others begin at zero.
    """

    memory: str = "xmem"
    padding: tuple[float, ...] = (0.0, 0.0, 0.0)
    antialias: bool = False
    enlarge: bool = True
    mask_resize: str = "nearest"
    staggered_updates: bool = False
    summed: tuple[str, ...] = ()


class Features(Protocol):
    """What a picture gives: these three are read by the memory, anything else is the family's own."""

    @property
    def key(self) -> Tensor:
        """(1, C_k, h, w)."""

    @property
    def shrinkage(self) -> Tensor:
        """(1, 1, h, w), >= 1."""

    @property
    def selection(self) -> Tensor:
        """(1, C_k, h, w), in (0, 1)."""


class Network(Protocol):
    """The verbs of a network that is ready to run. Inputs are float32 whatever the precision."""

    @property
    def conventions(self) -> Conventions:
        """What it leaves to the engine."""

    def encode_image(self, image: Tensor) -> Any:
        """Features of a picture (1, 3, H, W), normalised, sides divisible by 16."""

    def empty_state(self, features: Any) -> ObjectState:
        """The state of no objects: tensors (1, 0, ...) in the shapes that one object of this video needs."""

    def encode_memory(
        self, image: Tensor, features: Any, state: ObjectState, masks: Tensor, deep_update: bool
    ) -> tuple[Tensor, ObjectState]:
        """What to remember of a frame: value (1, O, C_v, h, w), and the state after it.

        masks (1, O, H, W) are probabilities in [0, 1] without background.
        """

    def segment(
        self, features: Any, readouts: list[Tensor], state: ObjectState, update_state: bool
    ) -> tuple[ObjectState, Tensor, Tensor]:
        """Decode a frame: the state, log-odds and probabilities (1, O + 1, H, W), background first.

        readouts: what was read from memory, (1, objects, C_v, h, w) for each bucket, in slot order.
        """


class PreparableNetwork(Protocol):
    """What backends rework: a module that names the parts which need care."""

    def float32_parts(self) -> list[nn.Module]:
        """Parts that stay in float32 where weights are held in half precision."""

    def cast_points(self) -> list[nn.Module]:
        """Parts whose inputs are cast to the precision of their weights."""

    def process_in_chunks(self, count: int) -> None:
        """See at most `count` objects at once from now on, where that does not change the result."""


class Family(Protocol):
    """One kind of network: how its checkpoints are told, read and built."""

    def recognises(self, names: Collection[str]) -> bool:
        """Whether a checkpoint with entries of these names is one of this family."""

    def own_tensors(self, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        """The checkpoint's entries under the names and in the shapes of `build`."""

    def build(self, shapes: Mapping[str, tuple[int, ...]]) -> nn.Module:
        """An empty network (on the current device) for entries of these shapes; the published sizes in doubt."""


FAMILIES: Registry[Family] = Registry("network family", "network")
