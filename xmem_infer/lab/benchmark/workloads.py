"""Workloads by name, and their networks: `480p_2`, `480p_2_long_term`, `tiny_480p_1`, `cutie_base_480p_2`."""

import re
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn

from ...errors import UsageError
from ...io.listing import counted
from ...model.cutie.network import Cutie
from ...model.cutie.sizes import CutieSizes
from ...model.network import XMem
from ...model.sizes import RESNET18
from ...weights.build import load_network
from ...weights.manifest import embedded_model, resolve_weights

XMEM = "xmem"
FULL_MEMORY_FRAMES = 9  # the tenth memory frame consolidates working memory
_NAME = re.compile(r"(?:(?P<network>[a-z_]+)_)?(?P<height>\d{1,4})p_(?P<objects>\d{1,3})(?P<long_term>_long_term)?")
# By name: how the descriptions of the network's workloads begin, and the function that builds it in published sizes.
NETWORKS: dict[str, tuple[str, Callable[[], nn.Module]]] = {
    XMEM: ("", XMem),
    "tiny": ("xmem-tiny, ", lambda: load_network(embedded_model()).network),
    "cutie_base": ("Cutie base, ", lambda: Cutie(CutieSizes())),
    "cutie_small": ("Cutie small, ", lambda: Cutie(CutieSizes(pixel_trunk=RESNET18))),
}


@dataclass(frozen=True)
class Workload:
    """The state of a video at one frame with full working memory."""

    height: int  # px
    objects: int
    long_term: bool = False  # whether long-term memory is filled to its capacity; otherwise it is empty
    network: str = XMEM  # its name in NETWORKS

    @property
    def name(self) -> str:
        network = "" if self.network == XMEM else f"{self.network}_"
        return f"{network}{self.height}p_{self.objects}{'_long_term' * self.long_term}"

    @property
    def width(self) -> int:
        """Width in px at 16:9, rounded to an even number: 854 for a height of 480."""
        return 2 * round(self.height * 8 / 9)

    @property
    def memory_tokens(self) -> int:
        """Number of tokens that an ordinary frame reads from, with long-term memory at its capacity."""
        frame = -(-self.height // 16) * -(-self.width // 16)
        return FULL_MEMORY_FRAMES * frame + 10_000 * self.long_term

    @property
    def description(self) -> str:
        network, _ = NETWORKS[self.network]
        long_term = " and long-term memory" * self.long_term
        return f"{network}{self.width}x{self.height}, {counted(self.objects, 'object')}, full memory{long_term}"


def parse_workload(name: str) -> Workload:
    """Return the workload with this name. Raises UsageError for an invalid name or an impossible video."""
    match = _NAME.fullmatch(name)
    if match is None or (match["network"] or XMEM) not in NETWORKS:
        raise UsageError(
            f"there is no workload {name!r}: a workload is called [<network>_]<height>p_<objects>, such as 480p_2 or "
            f"tiny_480p_1 (networks: {', '.join(NETWORKS)}; {XMEM} without one), and ends in _long_term for a filled "
            "long-term memory"
        )
    network, height, objects, long_term = match.groups()
    workload = Workload(int(height), int(objects), bool(long_term), network or XMEM)
    if workload.height < 32:
        raise UsageError(f"workload {name}: {workload.height} px are too few to paint objects in: at least 32")
    most = min(255, workload.width // 8)
    if not 1 <= workload.objects <= most:
        raise UsageError(f"workload {name}: {workload.objects} objects are not possible here: between 1 and {most}")
    return workload


def load_benchmark_network(name: str, weights: str | None) -> nn.Module:
    """Build the network in NETWORKS with this name, with random weights (seed 0) unless its weights are embedded.

    weights: a checkpoint that replaces XMem's published sizes. Raises WeightsError if it cannot be used.
    """
    if name == XMEM and weights is not None:
        return load_network(resolve_weights(weights)).network
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return NETWORKS[name][1]().eval()
