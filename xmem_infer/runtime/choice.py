"""What `auto` stands for: the backend by what the run records, the precision by what the device computes in."""

import torch
from torch import nn

from ..config import Precision, RuntimeConfig
from ..errors import UsageError
from .backends.int8 import int8_maker
from .backends.openvino_verbs import has_models
from .backends.prepare import BACKENDS, Prepared, check_backend, check_openvino, prepare
from .limits import check_threads
from .precision import candidates, check_precision, computes_in_int8

AUTO = "auto"
COMPILED_FOR_CPU = "openvino"
RECORDING_BACKEND = "eager"  # the network as it is written is what gradients are of


def check_runtime(runtime: RuntimeConfig, device: torch.device) -> None:
    """Refuse settings that this device or each other rule out, before a network is loaded.

    Raises:
        UsageError: The precision or the backend cannot be had.
    """
    check_threads(runtime.threads)
    check_precision(runtime.precision, device)
    backend = choose_backend(runtime)
    check_backend(backend, runtime.precision)
    if backend == COMPILED_FOR_CPU:
        check_openvino(device, runtime.precision)


def choose_backend(runtime: RuntimeConfig) -> str:
    """The name in BACKENDS; `auto` is fast, eager where the run records gradients, otherwise openvino for int8.

    Raises:
        UsageError: There is no such backend, or it holds weights without gradients and gradients were asked for.
    """
    recording = runtime.grad_mode.records
    if runtime.variant == AUTO:
        compiled = runtime.precision is Precision.int8
        return RECORDING_BACKEND if recording else COMPILED_FOR_CPU if compiled else "fast"
    BACKENDS[runtime.variant]
    if recording and runtime.variant != RECORDING_BACKEND:
        raise UsageError(
            f"runtime.variant={runtime.variant} holds weights without gradients, so that "
            f"runtime.grad_mode={runtime.grad_mode.value} would record nothing: use runtime.variant=eager"
        )
    return runtime.variant


def choose(network: nn.Module, runtime: RuntimeConfig, device: torch.device) -> tuple[Prepared, str]:
    """The network prepared as the settings say and, in words, why in this precision.

    `auto` precision is the first candidate in which a test frame stays finite. Where that is float32 on the CPU and an
    earlier run with runtime.variant=openvino compiled this network, `auto` variant is openvino: nobody waits for
    compiling who did not ask for it. Where the CPU computes in int8 and an earlier run with runtime.precision=int8 made
    models, which were not seen to differ since, `auto` precision is int8.

    Raises:
        UsageError: See `prepare`; or no precision gives finite numbers.
    """
    check_threads(runtime.threads)
    backend = choose_backend(runtime)
    is_auto, maker = runtime.precision is Precision.auto, int8_maker()
    precisions = candidates(device) if is_auto else [runtime.precision]
    if device.type == "cpu" and (backend == COMPILED_FOR_CPU or (runtime.variant == AUTO and backend == "fast")):
        if is_auto and maker and computes_in_int8() and has_models(network, maker):
            backend, precisions = COMPILED_FOR_CPU, [Precision.int8, Precision.fp32]
        elif is_auto and backend == COMPILED_FOR_CPU:
            precisions = [Precision.fp32]
        elif precisions == [Precision.fp32] and has_models(network):
            backend = COMPILED_FOR_CPU
    if not is_auto:
        return prepare(network, device, runtime.precision, backend, runtime.objects_at_once), "as asked for"
    refused: list[str] = []
    for precision in precisions:
        prepared = prepare(network, device, precision, backend, runtime.objects_at_once)
        if _stays_finite(prepared):
            reason = f"auto on {device.type}"
            return prepared, reason + (f"; {', '.join(refused)} gave non-finite numbers" if refused else "")
        refused.append(precision.value)
    raise UsageError(f"the network gives non-finite numbers on a test frame in {', '.join(refused)}: check the weights")


def _stays_finite(prepared: Prepared) -> bool:
    """Whether a frame of noise passes through all verbs with finite results."""
    network, device = prepared.network, prepared.device
    generator = torch.Generator().manual_seed(0)
    image = torch.randn(1, 3, 64, 64, generator=generator).to(device)
    masks = torch.rand(1, 1, 64, 64, generator=generator).to(device)
    with torch.no_grad(), prepared.context():
        features = network.encode_image(image)
        state = {name: x.new_zeros(1, 1, *x.shape[2:]) for name, x in network.empty_state(features).items()}
        value, state = network.encode_memory(image, features, state, masks, True)
        state, _, prob = network.segment(features, [value], state, True)
    return all(bool(x.isfinite().all()) for x in (features.key, value, prob, *state.values()))
