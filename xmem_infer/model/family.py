"""The interface between the engine and a network of any family, and the registry of families.

Features and object state are opaque to the engine: a family decides what it computes from an image, what it carries
from frame to frame for each object, and what it stores of a memory frame.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from torch import Tensor, nn

from ..registry import Registry

ObjectState = dict[str, Tensor]
"""State carried from frame to frame for each object, by name: tensors (1, O, ...), zero for a new object."""


@dataclass(frozen=True)
class Conventions:
    """Choices that a network was trained with and that the engine has to follow. The defaults are XMem's."""

    memory: str = "xmem"  # name of the memory to use if memory.kind=auto
    padding: tuple[float, ...] = (0.0, 0.0, 0.0)  # colour of padding pixels, after normalisation
    antialias: bool = False  # whether to antialias when downsampling images, if data.antialias=null
    enlarge: bool = True  # whether to upsample images whose short side is below data.size
    mask_resize: str = "nearest"  # mode of torch's `interpolate` for masks
    # Whether the decoder updates the object state on memory.stagger_updates out of memory_every frames, which may
    # include memory frames; otherwise it does so on all frames that are not memory frames.
    staggered_updates: bool = False
    # Names of entries of the object state that are sums over memory frames. They are kept when a video is restarted
    # with its memory; the other entries are reset to zero.
    summed: tuple[str, ...] = ()


class Features(Protocol):
    """Features of an image. The memory reads these three; a family may add others for its own use."""

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
    """A network that is ready to run. Inputs are float32 whatever precision it computes in."""

    conventions: Conventions  # choices that the engine has to follow

    def encode_image(self, image: Tensor) -> Any:
        """Return the features of a normalised image (1, 3, H, W) with sides divisible by 16."""

    def empty_state(self, features: Any) -> ObjectState:
        """Return the state of zero objects: tensors (1, 0, ...) whose other sizes fit this video."""

    def encode_memory(
        self, image: Tensor, features: Any, state: ObjectState, masks: Tensor, deep_update: bool
    ) -> tuple[Tensor, ObjectState]:
        """Encode a memory frame; return its value (1, O, C_v, h, w) and the updated state.

        masks: (1, O, H, W) probabilities in [0, 1] without background.
        """

    def segment(
        self, features: Any, readouts: list[Tensor], state: ObjectState, update_state: bool
    ) -> tuple[ObjectState, Tensor, Tensor]:
        """Decode a frame; return the state, log-odds and probabilities (1, O + 1, H, W), background first.

        readouts: Memory readouts (1, objects, C_v, h, w) of each bucket, in slot order.
        """


class PreparableNetwork(Protocol):
    """A `Network` that backends can prepare: it names the parts that need special treatment.

    Its `segment` has two steps, `aggregate(*decode(...))`, of which OpenVINO compiles the first.
    """

    def decode(
        self, features: Any, readouts: list[Tensor], state: ObjectState, update_state: bool
    ) -> tuple[ObjectState, Tensor]:
        """Return the state and the logits of each object, (1, O, h, w) of any size."""

    def aggregate(self, state: ObjectState, logits: Tensor) -> tuple[ObjectState, Tensor, Tensor]:
        """Return state, log-odds and probabilities as `segment` does."""

    def float32_parts(self) -> list[nn.Module]:
        """Return the modules that stay in float32 when weights are cast to half precision."""

    def cast_points(self) -> list[nn.Module]:
        """Return the modules whose inputs are cast to the precision of their weights."""

    def process_in_chunks(self, count: int) -> None:
        """Process at most `count` objects at once from now on, wherever that does not change the result."""


class Family(Protocol):
    """A network family: recognises its checkpoints, converts them, and builds the network."""

    def recognises(self, names: Collection[str]) -> bool:
        """Return whether a checkpoint with these entry names belongs to this family."""

    def own_tensors(self, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        """Convert a checkpoint to the names and shapes that the network of `build` expects."""

    def build(self, shapes: Mapping[str, tuple[int, ...]]) -> nn.Module:
        """Build an uninitialised network (on the current device) for entries of these shapes.

        Sizes that the shapes do not determine are the published ones.
        """


FAMILIES: Registry[Family] = Registry("network family", "network")
