"""What `auto` stands for: the variant by what the run records, the precision by what the device computes in."""

import torch

from ..config import Precision, RuntimeConfig, Variant
from ..errors import UsageError
from ..model.network import XMem
from ..model.prepared import Prepared
from .backends.prepare import prepare
from .precision import candidates, check_precision


def check_runtime(runtime: RuntimeConfig, device: torch.device) -> None:
    """Raise UsageError for settings that this device or each other rule out, before a network is loaded."""
    check_precision(runtime.precision, device)
    choose_variant(runtime)


def choose_variant(runtime: RuntimeConfig) -> Variant:
    """`auto`: fast, unless the run records gradients, which are of the network as it is written.

    Raises UsageError where that was asked of another variant.
    """
    recording = runtime.grad_mode.records
    if runtime.variant is Variant.auto:
        return Variant.eager if recording else Variant.fast
    if recording and runtime.variant is not Variant.eager:
        raise UsageError(
            f"runtime.variant={runtime.variant.value} holds weights without gradients, so that "
            f"runtime.grad_mode={runtime.grad_mode.value} would record nothing: use runtime.variant=eager"
        )
    return runtime.variant


def choose(network: XMem, runtime: RuntimeConfig, device: torch.device) -> tuple[Prepared, str]:
    """The network prepared as the settings say and, in words, why in this precision.

    `auto` precision is the first candidate in which a test frame stays finite.
    """
    variant = choose_variant(runtime)
    if runtime.precision is not Precision.auto:
        return prepare(network, device, runtime.precision, variant, runtime.objects_at_once), "as asked for"
    refused: list[str] = []
    for precision in candidates(device):
        prepared = prepare(network, device, precision, variant, runtime.objects_at_once)
        if _stays_finite(prepared):
            reason = f"auto on {device.type}"
            return prepared, reason + (f"; {', '.join(refused)} gave non-finite numbers" if refused else "")
        refused.append(precision.value)
    raise UsageError(f"the network gives non-finite numbers on a test frame in {', '.join(refused)}: check the weights")


def _stays_finite(network: Prepared) -> bool:
    """Whether a frame of noise passes through all three parts with finite results."""
    sizes, device = network.sizes, network.device
    generator = torch.Generator().manual_seed(0)
    image = torch.randn(1, 3, 64, 64, generator=generator).to(device)
    masks = torch.rand(1, 1, 64, 64, generator=generator).to(device)
    sensory = torch.zeros(1, 1, sizes.hidden_dim, 4, 4, device=device)
    with torch.no_grad(), network.context():
        features = network.encode_key(image)
        value, sensory = network.encode_value(image, features.f16, sensory, masks, True)
        sensory, _, prob = network.segment(features, value.float(), sensory, True)
    return all(bool(x.isfinite().all()) for x in (features.key, value, sensory, prob))
