"""The networks that are measured."""

import torch

from ...model.network import XMem
from ...weights.build import load_network
from ...weights.manifest import embedded_model, resolve_weights


def network_for(tiny: bool, weights: str | None) -> XMem:
    """The embedded model, the checkpoint of a path or name, or (None) the published sizes with numbers by seed.

    Time does not depend on what the numbers are. Raises WeightsError.
    """
    if tiny or weights is not None:
        return load_network(embedded_model() if weights is None or tiny else resolve_weights(weights)).network
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return XMem().eval()
