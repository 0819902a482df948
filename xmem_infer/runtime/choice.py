"""Resolve `auto`: the backend depends on whether gradients are recorded, the precision on what the device supports."""

import torch
from torch import nn

from ..config import Precision, RuntimeConfig
from ..errors import UsageError
from .backends.int8 import int8_toolchain
from .backends.openvino_cache import has_models
from .backends.prepare import BACKENDS, Prepared, check_backend, prepare
from .backends.winograd import has_winograd_convolutions
from .limits import check_threads
from .precision import candidates, check_precision, int8_is_faster, x86_has_bf16

AUTO = "auto"
OPENVINO = "openvino"


def check_runtime(runtime: RuntimeConfig, device: torch.device) -> None:
    """Raise UsageError, before a network is loaded, if threads, precision or backend are not possible here."""
    check_threads(runtime.threads)
    check_precision(runtime.precision, device)
    check_backend(choose_backend(runtime), runtime.precision, device)


def choose_backend(runtime: RuntimeConfig) -> str:
    """Return the name of the backend in BACKENDS.

    `auto` is `eager` if the run records gradients, else `openvino` for int8, else `fast`.

    Raises:
        UsageError: There is no such backend, or it cannot record gradients although runtime.grad_mode does.
    """
    recording = runtime.grad_mode.records
    if runtime.variant == AUTO:
        return "eager" if recording else OPENVINO if runtime.precision is Precision.int8 else "fast"
    BACKENDS[runtime.variant]
    if recording and runtime.variant != "eager":  # the only one with the original parameters, which gradients refer to
        raise UsageError(
            f"runtime.variant={runtime.variant} holds weights without gradients, so that "
            f"runtime.grad_mode={runtime.grad_mode.value} would record nothing: use runtime.variant=eager"
        )
    return runtime.variant


def choose(network: nn.Module, runtime: RuntimeConfig, device: torch.device) -> tuple[Prepared, str]:
    """Prepare the network as the settings say; also return the reason for its precision, in words.

    With precision `auto`, the first candidate in which a test frame stays finite is used; it is int8 if that is faster
    on this CPU and an earlier run with runtime.precision=int8 has built models. Variant `auto` is `openvino` if an
    earlier run with runtime.variant=openvino has compiled this network and `_is_faster_compiled`: it never compiles
    models that the user did not ask for.

    Raises:
        UsageError: See `prepare`; or no precision gives finite numbers.
    """
    check_threads(runtime.threads)
    backend = choose_backend(runtime)
    is_auto, toolchain = runtime.precision is Precision.auto, int8_toolchain()
    precisions = candidates(device) if is_auto else [runtime.precision]
    if device.type == "cpu" and (backend == OPENVINO or (runtime.variant == AUTO and backend == "fast")):
        if is_auto and toolchain and int8_is_faster() and has_models(network, toolchain):
            backend, precisions = OPENVINO, [Precision.int8, Precision.fp32]
        elif is_auto and backend == OPENVINO:
            precisions = [Precision.bf16, Precision.fp32] if x86_has_bf16() else [Precision.fp32]
        elif has_models(network) and _is_faster_compiled(network, precisions[0]):
            backend = OPENVINO
    refused: list[str] = []
    for precision in precisions:
        if not is_auto or _stays_finite(network, device, precision):
            reason = f"auto on {device.type}" if is_auto else "as asked for"
            reason += f"; {', '.join(refused)} gave non-finite numbers" if refused else ""
            return prepare(network, device, precision, backend, runtime.objects_at_once), reason
        refused.append(precision.value)
    raise UsageError(f"the network gives non-finite numbers on a test frame in {', '.join(refused)}: check the weights")


def _is_faster_compiled(network: nn.Module, precision: Precision) -> bool:
    """Return whether `openvino` is faster than `fast` on this CPU, or as fast: in fp32, if `fast` has no Winograd."""
    if precision is Precision.fp32:
        return not has_winograd_convolutions(network)
    return precision is Precision.bf16 and x86_has_bf16()


def _stays_finite(network: nn.Module, device: torch.device, precision: Precision) -> bool:
    """Return whether all methods of the network give finite results on a frame of noise.

    `eager` computes them, because the fused ReLUs of `fast` turn NaN into 0 on CPUs with AMX. int8 is compared with
    float32 anyway.
    """
    prepared = prepare(network, device, Precision.fp32 if precision is Precision.int8 else precision, "eager")
    eager, generator = prepared.network, torch.Generator().manual_seed(0)
    image = torch.randn(1, 3, 64, 64, generator=generator).to(device)
    masks = torch.rand(1, 1, 64, 64, generator=generator).to(device)
    with torch.no_grad(), prepared.context():
        features = eager.encode_image(image)
        state = {name: x.new_zeros(1, 1, *x.shape[2:]) for name, x in eager.empty_state(features).items()}
        value, state = eager.encode_memory(image, features, state, masks, True)
        state, _, prob = eager.segment(features, [value], state, True)
    return all(bool(x.isfinite().all()) for x in (features.key, value, prob, *state.values()))
