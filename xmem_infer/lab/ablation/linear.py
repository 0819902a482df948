"""In the child: the documents' Linear - ReLU - Linear, and what a forward leaves in memory."""

from collections.abc import Callable

import torch
from torch import nn

from ...runtime.grad_mode import grad_mode
from ..resident import ceiling, peak_resident_bytes, resident_bytes, restart_peak
from .requests import LinearRequest
from .tensor_bytes import TensorBytes, bytes_of

Tell = Callable[..., None]


def linear_forward(request: LinearRequest, tell: Tell) -> None:
    """One forward; tell `linear` with the bytes it leaves (output and graph), its peak, and the mode it ran in."""
    with ceiling(request.ceiling_bytes):
        network = _network(request.features, request.hidden)
        x = torch.ones(request.rows, request.features, requires_grad=True)
        before = resident_bytes()
        restart_peak()
        counter = TensorBytes(x.device)
        with grad_mode(request.grad_mode), counter.counting():
            y = network(x)
        tell(
            "linear",
            held_bytes=counter.held,
            peak_bytes=counter.peak,
            output_bytes=y.numel() * y.element_size(),
            network_bytes=bytes_of(network),
            resident_before_bytes=before,
            resident_after_bytes=resident_bytes(),
            peak_resident_bytes=peak_resident_bytes(),
            requires_grad=y.requires_grad,
        )


def _network(features: int, hidden: int) -> nn.Sequential:
    """Constant weights: drawing 500 million random numbers would take longer than the forward."""
    with torch.device("meta"):
        network = nn.Sequential(nn.Linear(features, hidden), nn.ReLU(), nn.Linear(hidden, features))
    network.to_empty(device="cpu")
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.fill_(0.001)
    return network
