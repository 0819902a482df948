"""Precisions: which ones a device supports, candidates for `auto`, and the context manager that applies one."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from ..config import Precision
from ..errors import UsageError
from ..ops.cpu import cpu_capabilities

BF16_ON_X86 = ("avx512_bf16", "amx_bf16")  # as torch.cpu.get_capabilities calls them
HALF = {Precision.fp16: torch.float16, Precision.bf16: torch.bfloat16}


def check_precision(precision: Precision, device: torch.device) -> None:
    """Raise UsageError, with the reason, for a precision that this device does not support."""
    if precision is Precision.tf32:
        if device.type != "cuda":
            raise UsageError(
                f"runtime.precision=tf32 is a mode of NVIDIA GPUs, the device is {device.type}: use fp32 or bf16"
            )
        if torch.cuda.get_device_capability(device) < (8, 0):
            raise UsageError("runtime.precision=tf32 needs an Ampere GPU or newer: use fp32 or fp16")
    if precision is Precision.int8 and device.type != "cpu":
        raise UsageError(f"runtime.precision=int8 is for CPUs, the device is {device.type}: use bf16 or fp16")
    if precision is Precision.fp16 and device.type == "cpu" and not _cpu_has("fp16"):
        raise UsageError("runtime.precision=fp16: this CPU has no half precision arithmetic; use bf16 or fp32")


def candidates(device: torch.device) -> list[Precision]:
    """Return the precisions to try for `auto`, best first: half precision only if the hardware computes in it."""
    if device.type == "cuda":
        native = torch.cuda.get_device_capability(device) >= (8, 0)
        return [Precision.bf16 if native else Precision.fp16, Precision.fp32]
    if device.type == "cpu" and _cpu_has("bf16"):
        return [Precision.bf16, Precision.fp32]
    return [Precision.fp32]


def x86_has_bf16() -> bool:
    """Return whether this is an x86 CPU that computes in bf16; on other CPUs, OpenVINO does not."""
    return any(cpu_capabilities().get(name, False) for name in BF16_ON_X86)


def int8_is_faster() -> bool:
    """Return whether int8 is faster than float32 on this CPU: it was on those with AVX2, with and without VNNI."""
    return bool(cpu_capabilities().get("avx2", False))


@contextmanager
def precision_context(precision: Precision, device: torch.device, autocast: bool = True) -> Iterator[None]:
    """Run a block in a precision: autocast for fp16 and bf16, the TF32 flags of matrix products for fp32 and tf32.

    autocast: False if the weights are in that precision already; an enclosing autocast is then disabled.
    """
    dtype = HALF.get(precision) if autocast else None
    if device.type != "cuda":
        with torch.autocast(device.type, dtype=dtype, enabled=dtype is not None):
            yield
        return
    flags = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = precision is Precision.tf32
    try:
        with torch.autocast("cuda", dtype=dtype, enabled=dtype is not None):
            yield
    finally:
        torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = flags


def _cpu_has(kind: str) -> bool:
    check = getattr(torch.ops.mkldnn, f"_is_mkldnn_{kind}_supported", None)
    if check is None or not torch.backends.mkldnn.is_available() or not check():
        return False
    # oneDNN reports bf16 on every AVX-512 processor, even if it has to convert to float32 for each multiplication.
    capabilities = cpu_capabilities() if kind == "bf16" else {}
    known = [capabilities[name] for name in BF16_ON_X86 if name in capabilities]
    return any(known) if known else True
