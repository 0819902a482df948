"""A backend registered by a plugin and selected by its name."""

import pytest
import torch

from xmem_infer import RuntimeConfig, Segmenter, UsageError
from xmem_infer.config import Precision
from xmem_infer.runtime.backends.prepare import BACKENDS, eager


def test_a_registered_backend_is_found_by_its_name(tiny_network, make_clip, monkeypatch):
    monkeypatch.setattr(BACKENDS, "_entries", dict(BACKENDS._entries))
    made = []

    @BACKENDS.register("mine")
    def mine(network, device, precision):
        made.append((device, precision))
        ready, active, autocast = eager(network, device, precision)
        return ready, (*active, "mine"), autocast

    images, masks = make_clip(3, 48, 64, 1, 0)
    segmenter = Segmenter(tiny_network, runtime=RuntimeConfig(precision=Precision.fp32, variant="mine"))
    assert made == [(torch.device("cpu"), Precision.fp32)]
    assert (segmenter.prepared.backend, segmenter.prepared.active[-1]) == ("mine", "mine")
    assert len(list(segmenter.segment(images, masks[0]))) == 3
    with pytest.raises(UsageError, match=r"runtime.variant=fst.*did you mean fast\?"):
        Segmenter(tiny_network, runtime=RuntimeConfig(variant="fst"))
