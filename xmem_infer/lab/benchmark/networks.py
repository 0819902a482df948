"""The networks that a workload can name, in their published sizes."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn

from ...model.cutie.network import Cutie
from ...model.cutie.sizes import CutieSizes
from ...model.network import XMem
from ...model.sizes import RESNET18, NetworkSizes
from ...weights.build import load_network
from ...weights.manifest import embedded_model, resolve_weights

XMEM = "xmem"


@dataclass(frozen=True)
class BenchmarkNetwork:
    """A network: how its workloads' descriptions begin in reports, and the function that builds it."""

    title: str
    build: Callable[[], nn.Module]


_SMALL = CutieSizes(pixel_trunk=RESNET18)
NETWORKS = {
    XMEM: BenchmarkNetwork("", lambda: XMem(NetworkSizes())),
    "tiny": BenchmarkNetwork("xmem-tiny, ", lambda: load_network(embedded_model()).network),
    "cutie_base": BenchmarkNetwork("Cutie base, ", lambda: Cutie(CutieSizes())),
    "cutie_small": BenchmarkNetwork("Cutie small, ", lambda: Cutie(_SMALL)),
}


def load_benchmark_network(name: str, weights: str | None) -> nn.Module:
    """Build the network in NETWORKS with this name, with random weights (seed 0) unless its weights are embedded.

    weights: a checkpoint that replaces XMem's published sizes. Raises WeightsError if it cannot be used.
    """
    if name == XMEM and weights is not None:
        return load_network(resolve_weights(weights)).network
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return NETWORKS[name].build().eval()
