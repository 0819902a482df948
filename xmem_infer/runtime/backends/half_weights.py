"""Weights held in half precision, with parts in float32, instead of autocast.

Autocast decides operation by operation and casts weights again and again; here the dtype of a layer is the dtype of
its weights, and inputs are cast where a layer of another dtype begins. The network names both: what stays in float32
(`float32_parts`) and where inputs are cast (`cast_points`). Similarity, softmax, aggregation and recurrent state are
float32 anyway.
"""

from functools import partial
from typing import Any

import torch
from torch import Tensor, nn


def hold_weights_in(network: Any, dtype: torch.dtype) -> None:
    """In place: weights to `dtype`, those of `float32_parts` to float32, inputs cast at `cast_points`."""
    for parameter in network.parameters():  # buffers stay: what is not learned is there for its digits
        parameter.data = parameter.data.to(dtype)
    for part in network.float32_parts():
        part.float()
    for point in network.cast_points():
        point.register_forward_pre_hook(partial(_cast, next(point.parameters()).dtype))


def _cast(dtype: torch.dtype, _: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
    # Pictures come in planes: oneDNN's fused convolutions compute in the layout of their input.
    def cast(x: Tensor) -> Tensor:
        return x.to(dtype, memory_format=torch.channels_last if x.ndim == 4 else torch.preserve_format)

    return tuple(cast(x) if isinstance(x, Tensor) else x for x in inputs)
