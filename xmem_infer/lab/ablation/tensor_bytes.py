"""Exact bytes held in tensors: every allocation and release, summed. Repeats to the byte."""

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import torch
from torch import nn
from torch.autograd.profiler import profile


class TensorBytes:
    """Tensor memory over stretches of work: `with counter.counting(): ...`, then `held` and `peak`.

    held: bytes in tensors now; peak: the most since construction; last_peak: the most of the last stretch.
    On the CPU the profiler's memory events are summed: what is allocated and released outside a stretch is
    not seen, scratch space inside oneDNN neither. `base` is added for tensors made before (the network).
    On CUDA the allocator's own figures are taken, `base` and everything else on the device included.
    """

    def __init__(self, device: torch.device, base: int = 0):
        self._device = device
        self.held = self.peak = self.last_peak = base
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(device)

    @contextmanager
    def counting(self) -> Iterator[None]:
        """Count what the block allocates and releases; what it did before an error counts too."""
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
        os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # else the profiler writes two lines for every stretch
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
    """Signed sizes in order of time. The raw list: turning every operation into Python objects takes seconds."""
    results = session.kineto_results
    events = results.events() if results is not None else []
    memory = [event for event in events if event.name() == "[memory]"]
    # The stubs lag behind: the event's `nbytes` is public in the bindings.
    return [event.nbytes() for event in sorted(memory, key=lambda event: event.start_ns())]  # type: ignore[attr-defined]


def bytes_of(network: nn.Module) -> int:
    """Bytes of parameters and buffers, shared storage counted once."""
    storages = {}
    for tensor in (*network.parameters(), *network.buffers()):
        storages[tensor.untyped_storage().data_ptr()] = tensor.numel() * tensor.element_size()
    return sum(storages.values())
