"""One training step: inputs, forward pass over all frames, loss, gradient, update."""

import copy
from dataclasses import dataclass
from math import isfinite

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...errors import EnvironmentFault
from ...model.blocks import BasicBlock, ResBlock
from ...model.network import XMem
from ...ops.affinity import full_precision
from ...ops.images import normalise
from .batches import Batch, stage_at
from .config import LossConfig, OptimConfig, TrainConfig
from .unroll import Unrolled, unroll

# The layers of either trunk, without a mobile trunk's last 1x1 convolutions, which are trained at the full rate.
TRUNK_LAYERS = tuple(f"key_encoder.trunk.{part}" for part in ("stem", "layer", "conv1"))


@dataclass
class TrainState:
    """The complete state of a run."""

    network: XMem
    average: XMem  # moving average of the network
    optimizer: torch.optim.AdamW
    seen: int = 0  # samples so far
    steps: int = 0


def new_state(config: TrainConfig, device: torch.device) -> TrainState:
    """Return the state of a new run: random weights from the seed; residual branches are zero-initialised."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        network = XMem(config.network.sizes())
    for module in network.modules():
        if isinstance(module, ResBlock):
            nn.init.zeros_(module.conv2.weight)
        elif isinstance(module, BasicBlock):
            nn.init.zeros_(module.bn2.weight)
    network = network.to(device).to(memory_format=torch.channels_last).train()
    average = copy.deepcopy(network).eval().requires_grad_(False)
    return TrainState(network, average, _optimizer(network, config))


def _optimizer(network: XMem, config: TrainConfig) -> torch.optim.AdamW:
    """Return AdamW over all parameters that are not frozen.

    Biases and scales of norms have no weight decay, and the key encoder's trunk has its own learning rate.
    """
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for name, parameter in network.named_parameters():
        if name.startswith(tuple(config.frozen)):
            parameter.requires_grad_(False)
            continue
        share = config.optim.trunk_lr if name.startswith(TRUNK_LAYERS) else 1.0
        decay = config.optim.weight_decay if parameter.ndim > 1 else 0.0
        groups.setdefault((share, decay), []).append(parameter)
    options = [{"params": group, "weight_decay": decay, "share": share} for (share, decay), group in groups.items()]
    return torch.optim.AdamW(options, lr=config.optim.lr)


def learning_rate(config: OptimConfig, seen: int) -> float:
    """Return the learning rate: warm-up, constant, linear cooldown. The end can be moved during the constant part."""
    if seen < config.warmup:
        return config.lr * (seen + 1) / config.warmup
    left = config.total_samples - seen
    span = max(1, config.total_samples - config.cooldown_from)
    return config.lr * min(1.0, max(0.0, left / span))


def train_step(state: TrainState, batch: Batch, config: TrainConfig) -> dict[str, float]:
    """Train on one batch; return the losses. Raises EnvironmentFault, before any update, if they are not finite."""
    rate = learning_rate(config.optim, state.seen)
    for group in state.optimizer.param_groups:
        group["lr"] = rate * group["share"]
    state.optimizer.zero_grad(set_to_none=True)
    state.network.train()
    if stage_at(config.stages, state.seen).frozen_norms:
        for module in state.network.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.eval()
    parts = _add_gradient(state.network, batch, config, state.seen)
    loss, norm = parts["loss"], float(nn.utils.clip_grad_norm_(state.network.parameters(), config.optim.clip))
    if not (isfinite(loss) and isfinite(norm)):  # the gradient can be finite although the loss is not
        raise EnvironmentFault(f"loss {loss}, gradient norm {norm} at sample {state.seen}: resume with lower optim.lr")
    state.optimizer.step()
    state.seen += batch.images.shape[0]
    state.steps += 1
    _update_average(state.average, state.network, min(config.optim.ema, (1 + state.steps) / (10 + state.steps)))
    return {**parts, "lr": rate, "gradient": norm}


def _add_gradient(network: XMem, batch: Batch, config: TrainConfig, seen: int) -> dict[str, float]:
    """Add the gradient of a batch to that of the parameters; return the losses."""
    device = next(network.parameters()).device
    labels = batch.labels.to(device)
    images, masks, coarse = network_inputs(batch.images.to(device), labels, batch.objects)
    # The memory frames are drawn per batch, and are the same for all its samples.
    rng = np.random.default_rng((config.seed, batch.start, 2))
    chance = rng.uniform(0.3, 0.9)
    memory_at = [True, *(bool(x < chance) for x in rng.random(images.shape[1] - 1))]
    with torch.autocast(device.type, dtype=torch.bfloat16, enabled=config.bf16):
        result = unroll(network, images, masks[:, 0], coarse[:, 0], memory_at, config.top_k)
        loss, parts = total_loss(result, labels, masks, coarse, config.loss, seen)
    loss.backward()
    return parts


def network_inputs(pixels: Tensor, labels: Tensor, objects: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return what the network gets of a batch: images, masks, and the masks averaged over 16 x 16 px.

    pixels (B, T, S, S, 3) uint8, labels (B, T, S, S) -> (B, T, 3, S, S) normalised as at inference, (B, T, O, S, S) in
    {0, 1}, (B, T, O, S / 16, S / 16).
    """
    masks = torch.stack([(labels == value).float() for value in range(1, objects + 1)], 2)
    coarse = F.avg_pool2d(masks.flatten(0, 1), 16).unflatten(0, masks.shape[:2])
    count, frames, size = pixels.shape[:3]
    rows = normalise(pixels.view(-1, size, 3))  # all images stacked vertically: (3, B*T*S, S)
    pictures = rows.view(3, count * frames, size, size).transpose(0, 1)
    images = pictures.contiguous(memory_format=torch.channels_last).unflatten(0, (count, frames))
    return images, masks, coarse


@torch.no_grad()
def _update_average(average: XMem, network: XMem, decay: float) -> None:
    """Move the average one step towards the network, including statistics of batch norm; copy counters."""
    averages, values = average.state_dict(), network.state_dict()
    floats = [name for name, value in averages.items() if value.is_floating_point()]
    torch._foreach_lerp_([averages[n] for n in floats], [values[n] for n in floats], 1 - decay)
    for name in averages.keys() - set(floats):
        averages[name].copy_(values[name])


def hard_share(config: LossConfig, seen: int) -> float:
    """Return the share of pixels, the worst ones, that cross entropy averages over: from 1 to `config.hard_share`."""
    return 1.0 + (config.hard_share - 1.0) * min(1.0, seen / max(1, config.hard_after))


def bootstrapped_cross_entropy(log_odds: Tensor, labels: Tensor, share: float) -> Tensor:
    """Mean over samples of the mean over each sample's worst pixels.

    log_odds (B, O + 1, H, W), labels (B, H, W) int64.
    """
    loss = F.cross_entropy(log_odds, labels, reduction="none").flatten(1)
    if share < 1.0:
        loss = loss.topk(max(1, int(share * loss.shape[1])), dim=1, sorted=False).values
    return loss.mean()


def soft_dice(prob: Tensor, masks: Tensor) -> Tensor:
    """Return 1 - dice, mean over samples and objects; prob and masks (B, O, H, W) in [0, 1]."""
    prob, masks = prob.flatten(2), masks.flatten(2)
    intersection = (prob * masks).sum(2)
    return (1 - (2 * intersection + 1) / (prob.sum(2) + masks.sum(2) + 1)).mean()


def first_read_loss(carried: Tensor, coarse: Tensor) -> Tensor:
    """Return the cross entropy of the first masks carried over by the keys against the true ones; both (B, O, h, w)."""
    # In half precision the limit 1 - 1e-4 rounds to 1, where there is no gradient; CUDA's autocast refuses this loss.
    with full_precision(carried):
        return F.binary_cross_entropy(carried.float().clamp(1e-4, 1 - 1e-4), coarse)


def total_loss(
    result: Unrolled, labels: Tensor, masks: Tensor, coarse: Tensor, config: LossConfig, seen: int
) -> tuple[Tensor, dict[str, float]]:
    """Return the loss and its parts. labels (B, T, H, W), masks (B, T, O, H, W), coarse (B, T, O, h, w)."""
    share = hard_share(config, seen)
    frames = []
    for t, (log_odds, prob, carried) in enumerate(zip(*result, strict=True), start=1):
        cross_entropy = bootstrapped_cross_entropy(log_odds, labels[:, t].long(), share)
        dice, key = soft_dice(prob[:, 1:], masks[:, t]), first_read_loss(carried, coarse[:, t])
        frames.append(torch.stack([cross_entropy, dice, key]))
    cross_entropy, dice, key = torch.stack(frames).mean(0)
    loss = cross_entropy + config.dice * dice + config.key * key
    parts = {"loss": loss, "cross_entropy": cross_entropy, "dice": dice, "key": key}
    return loss, {name: part.item() for name, part in parts.items()}
