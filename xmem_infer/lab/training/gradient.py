"""From a batch to gradients: inputs, unrolling, loss, backward."""

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ...model.network import XMem
from ...ops.images import normalise
from .batches import Batch
from .config import TrainConfig
from .losses import total_loss
from .unroll import unroll


def add_gradient(network: XMem, batch: Batch, config: TrainConfig, seen: int) -> dict[str, float]:
    """Add the gradient of a batch to the parameters'; the parts of what it cost. seen: samples, by the run so far."""
    device = next(network.parameters()).device
    images, labels = to_inputs(batch, device)
    masks = torch.stack([(labels == value).float() for value in range(1, batch.objects + 1)], 2)
    coarse = F.avg_pool2d(masks.flatten(0, 1), 16).unflatten(0, masks.shape[:2])
    plan = memory_plan(config.seed, batch.start, images.shape[1])
    with torch.autocast(device.type, dtype=torch.bfloat16, enabled=config.bf16):
        result = unroll(network, images, masks[:, 0], coarse[:, 0], plan, config.top_k)
        loss, parts = total_loss(result, labels, masks, coarse, config.loss, seen)
    loss.backward()
    return parts


def to_inputs(batch: Batch, device: torch.device) -> tuple[Tensor, Tensor]:
    """Images (B, T, 3, S, S) normalised as at inference, and labels (B, T, S, S), on the device."""
    images = batch.images.to(device, non_blocking=True)
    count, frames, size = images.shape[:3]
    rows = normalise(images.view(-1, size, 3))  # pictures under one another: (3, B*T*S, S)
    pictures = rows.view(3, count * frames, size, size).transpose(0, 1)
    pictures = pictures.contiguous(memory_format=torch.channels_last)
    return pictures.unflatten(0, (count, frames)), batch.labels.to(device, non_blocking=True)


def memory_plan(seed: int, start: int, frames: int) -> list[bool]:
    """Which frames of a batch are remembered: drawn per batch, for all its samples."""
    rng = np.random.default_rng((seed, start, 2))
    chance = rng.uniform(0.3, 0.9)
    return [True] + [bool(x < chance) for x in rng.random(frames - 1)]
