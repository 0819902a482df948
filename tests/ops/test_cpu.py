"""CPU capabilities as reported by torch."""

import torch

from xmem_infer.ops.cpu import cpu_capabilities


def test_without_capabilities_from_torch_a_basic_cpu_is_assumed(monkeypatch):
    assert cpu_capabilities()
    monkeypatch.delattr(torch.cpu, "get_capabilities")
    assert cpu_capabilities() == {}
