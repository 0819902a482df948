"""Run a training sample through the network, frame by frame, with the functions and the memory read of inference."""

from typing import NamedTuple

import torch
from torch import Tensor

from ...model.network import SENSORY, KeyFeatures, XMem
from ...ops.affinity import full_precision, readout, similarity, top_k_affinity


class Unrolled(NamedTuple):
    """Predictions for the frames 1..T-1, one entry per frame."""

    log_odds: list[Tensor]  # (B, O + 1, H, W)
    prob: list[Tensor]  # (B, O + 1, H, W)
    first_read: list[Tensor]  # (B, O, h, w), the first frame's masks read through the affinity of the keys alone


class _Memory(NamedTuple):
    """Tokens of memory frames, in rows."""

    key: Tensor  # (B, N, C_k)
    shrinkage: Tensor  # (B, N, 1)
    value: Tensor  # (B, O, N, C_v)


def unroll(network: XMem, images: Tensor, masks: Tensor, coarse: Tensor, memory_at: list[bool], top_k: int) -> Unrolled:
    """Segment the frames 1..T-1 from the masks of the first frame.

    images (B, T, 3, H, W) normalised; masks (B, O, H, W) in {0, 1}; coarse (B, O, h, w): the masks averaged over
    16 x 16 px; memory_at: for each frame, whether it is added to memory (the first one always is).
    """
    frames = images.shape[1]
    features = network.encode_image(images.flatten(0, 1))
    # unbind, because the backward pass of indexing would allocate a zero tensor of full size for each frame.
    per_frame = [KeyFeatures(*x) for x in zip(*(f.unflatten(0, (-1, frames)).unbind(1) for f in features), strict=True)]
    first = per_frame[0]
    state = {SENSORY: first.key.new_zeros(*masks.shape[:2], network.sizes.hidden_dim, *first.key.shape[-2:])}
    value, state = network.encode_memory(images[:, 0], first, state, masks, True)
    memory = _remember(first, value)
    given = coarse.flatten(2).transpose(1, 2)  # (B, h*w, O)
    result = Unrolled([], [], [])
    for t in range(1, frames):
        last = t == frames - 1
        remember = memory_at[t] and not last
        read, carried = _read(memory, per_frame[t], given, top_k)
        state, log_odds, prob = network.segment(per_frame[t], [read], state, not remember and not last)
        result.log_odds.append(log_odds)
        result.prob.append(prob)
        result.first_read.append(carried)
        if remember:
            value, state = network.encode_memory(images[:, t], per_frame[t], state, prob[:, 1:], True)
            more = _remember(per_frame[t], value)
            memory = _Memory(*(torch.cat(tokens, -2) for tokens in zip(memory, more, strict=True)))
    return result


def _remember(frame: KeyFeatures, value: Tensor) -> _Memory:
    return _Memory(_rows(frame.key), _rows(frame.shrinkage), value.float().flatten(3).transpose(2, 3))


def _read(memory: _Memory, query: KeyFeatures, given: Tensor, top_k: int) -> tuple[Tensor, Tensor]:
    """Return the readout (B, O, C_v, h, w), and the given masks read from the first frame's tokens (B, O, h, w)."""
    tokens = given.shape[1]
    videos = (memory.key, memory.shrinkage, memory.value, _rows(query.key), _rows(query.selection), given)
    reads, carried = [], []
    for key, shrinkage, value, query_key, selection, masks in zip(*(x.unbind() for x in videos), strict=True):
        scores = similarity(key, shrinkage[:, 0], query_key, selection)
        reads.append(readout(value, top_k_affinity(scores, top_k)))
        with full_precision(scores):
            carried.append(scores[:, :tokens].softmax(1) @ masks)
    height_width = query.key.shape[-2:]
    read = torch.stack(reads).transpose(2, 3).unflatten(3, height_width)
    return read, torch.stack(carried).transpose(1, 2).unflatten(2, height_width)


def _rows(x: Tensor) -> Tensor:
    """(B, C, h, w) -> (B, h*w, C)."""
    return x.flatten(2).transpose(1, 2)
