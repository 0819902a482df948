"""In the child: the documents' Linear - ReLU - Linear, and what a forward leaves in memory."""

from dataclasses import dataclass

import torch
from torch import nn

from ...config import GradMode
from ...runtime.grad_mode import grad_mode
from ..child import Tell
from ..resident import ceiling
from .tensor_bytes import TensorBytes


@dataclass
class LinearRequest:
    """One forward of Linear(features, hidden) - ReLU - Linear(hidden, features) on ones (rows, features)."""

    features: int
    hidden: int
    rows: int
    grad_mode: GradMode
    threads: int | None
    ceiling_bytes: int


def linear_forward(request: LinearRequest, tell: Tell) -> None:
    """One forward; tell `linear`: the bytes it leaves (output and graph), its peak, its output alone."""
    with ceiling(request.ceiling_bytes):
        network = _network(request.features, request.hidden)
        x = torch.ones(request.rows, request.features, requires_grad=True)
        counter = TensorBytes(x.device)
        with grad_mode(request.grad_mode), counter.counting():
            y = network(x)
        tell("linear", held_bytes=counter.held, peak_bytes=counter.peak, output_bytes=y.numel() * y.element_size())


def _network(features: int, hidden: int) -> nn.Sequential:
    """Constant weights: drawing 500 million random numbers would take longer than the forward."""
    with torch.device("meta"):
        network = nn.Sequential(nn.Linear(features, hidden), nn.ReLU(), nn.Linear(hidden, features))
    network.to_empty(device="cpu")
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.fill_(0.001)
    return network
