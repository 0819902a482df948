"""What is asked of torch about the CPU."""

import torch

from xmem_infer.ops.cpu import cpu_capabilities


def test_a_torch_that_does_not_tell_is_taken_for_a_plain_cpu(monkeypatch):
    assert cpu_capabilities()
    monkeypatch.delattr(torch.cpu, "get_capabilities")
    assert cpu_capabilities() == {}
