"""Weights held in half precision, with islands of float32, instead of autocast.

Autocast decides operation by operation and casts weights again and again; here the dtype of a layer is the dtype of
its weights, and what enters another dtype's layer is cast at its door. The islands: keys, which are compared by
squared distances, and the logits, whose digits near zero decide a pixel. Similarity, softmax, aggregation and the
recurrent state are float32 anyway (`ops`, `model.network.wide`, `RecurrentCell`).
"""

from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from ...model.network import XMem


def hold_in(network: XMem, dtype: torch.dtype) -> None:
    """In place: weights to `dtype`, the islands' to float32, inputs cast where a layer of another dtype begins."""
    network.to(dtype)
    islands = [network.key_projection, network.decoder.prediction]
    doors: list[nn.Module] = [network.value_encoder.trunk, network.decoder.fusion, *islands]
    for island in islands:
        island.float()
    for cell in (network.value_encoder.deep_update, getattr(network.decoder.sensory_update, "cell", None)):
        if cell is not None:
            doors.append(cell.transform)  # its sum of gates is computed in the state's float32
    for door in doors:
        door.register_forward_pre_hook(partial(_cast, next(door.parameters()).dtype))


def _cast(dtype: torch.dtype, _: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
    return tuple(x.to(dtype) if isinstance(x, Tensor) else x for x in inputs)
