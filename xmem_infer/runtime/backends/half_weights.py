"""Store weights in half precision, except for some parts in float32, instead of using autocast.

Autocast decides for each operation and casts weights on every call. Here each layer computes in the dtype of its
weights, and inputs are cast before a layer of another dtype. The network specifies which parts stay in float32
(`float32_parts`) and where inputs are cast (`cast_points`). Similarity, softmax, aggregation and recurrent state are
always float32.
"""

from functools import partial
from typing import Any

import torch
from torch import Tensor, nn


def hold_weights_in(network: Any, dtype: torch.dtype) -> None:
    """Cast weights to `dtype` in place, and those of `float32_parts` back to float32; cast inputs at `cast_points`."""
    for parameter in network.parameters():  # buffers keep their dtype: they are constants that need their precision
        parameter.data = parameter.data.to(dtype)
    for part in network.float32_parts():
        part.float()
    for point in network.cast_points():
        point.register_forward_pre_hook(partial(_cast, next(point.parameters()).dtype))


def _cast(dtype: torch.dtype, _: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
    # Images arrive channels first, and oneDNN's fused convolutions compute in the layout of their input.
    def cast(x: Tensor) -> Tensor:
        return x.to(dtype, memory_format=torch.channels_last if x.ndim == 4 else torch.preserve_format)

    return tuple(cast(x) if isinstance(x, Tensor) else x for x in inputs)
