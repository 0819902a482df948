"""Exact number of bytes held in tensors, from all allocations and releases. Repeats give equal numbers."""

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import torch
from torch import nn
from torch.autograd.profiler import profile


class TensorBytes:
    """Counts tensor memory in sections of a program: `with counter.counting(): ...`, then read `held` and `peak`.

    held: bytes in tensors now; peak: the most since construction; last_peak: the most in the last section.
    On the CPU the profiler's memory events are summed. Allocations outside of the sections and scratch space inside
    oneDNN are not seen; `base` is added for tensors created before (the network). On CUDA the numbers come from the
    allocator and include everything on the device.
    """

    def __init__(self, device: torch.device, base: int = 0):
        self._device = device
        self.held = self.peak = self.last_peak = base
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(device)

    @contextmanager
    def counting(self) -> Iterator[None]:
        """Count what the block allocates and releases, also if it ends with an error."""
        if self._device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self._device)
            try:
                yield
            finally:
                torch.cuda.synchronize(self._device)
                self.held = torch.cuda.memory_allocated(self._device)
                self.last_peak = torch.cuda.max_memory_allocated(self._device)
                self.peak = max(self.peak, self.last_peak)
            return
        os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # otherwise the profiler prints two lines for every section
        session = profile(profile_memory=True)
        try:
            with session:
                yield
        finally:
            self._add(_memory_events(session))

    def _add(self, changes: Iterable[int]) -> None:
        self.last_peak = self.held
        for change in changes:
            self.held += change
            self.last_peak = max(self.last_peak, self.held)
        self.peak = max(self.peak, self.last_peak)


def _memory_events(session: profile) -> list[int]:
    """Return signed sizes in order of time.

    They are read from the raw list, because the profiler takes seconds to convert all operations to Python objects.
    """
    results = session.kineto_results
    events = results.events() if results is not None else []
    memory = [event for event in events if event.name() == "[memory]"]
    # `nbytes` is public in the bindings but still missing in torch's type stubs.
    return [event.nbytes() for event in sorted(memory, key=lambda event: event.start_ns())]  # type: ignore[attr-defined]


def bytes_of(network: nn.Module) -> int:
    """Return the bytes of parameters and buffers, counting shared storage once."""
    storages = {}
    for tensor in (*network.parameters(), *network.buffers()):
        storages[tensor.untyped_storage().data_ptr()] = tensor.numel() * tensor.element_size()
    return sum(storages.values())
