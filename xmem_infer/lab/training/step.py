"""One training step, and the state it changes."""

import copy
from dataclasses import dataclass
from math import isfinite

import torch
from torch import nn

from ...errors import EnvironmentFault
from ...model.blocks import BasicBlock, Bottleneck, ResBlock
from ...model.network import XMem
from .batches import Batch, stage_at
from .config import OptimConfig, TrainConfig
from .gradient import add_gradient


@dataclass
class TrainState:
    """All that a run is: network, its moving average, optimizer, samples and steps so far."""

    network: XMem
    average: XMem
    optimizer: torch.optim.AdamW
    seen: int = 0
    steps: int = 0


def new_state(config: TrainConfig, device: torch.device) -> TrainState:
    """A fresh run: weights drawn from the seed; residual branches start as zero."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        network = XMem(config.network.sizes())
    for module in network.modules():
        if isinstance(module, ResBlock):
            nn.init.zeros_(module.conv2.weight)
        elif isinstance(module, BasicBlock):
            nn.init.zeros_(module.bn2.weight)
        elif isinstance(module, Bottleneck):
            nn.init.zeros_(module.bn3.weight)
    network = network.to(device).to(memory_format=torch.channels_last).train()
    average = copy.deepcopy(network).eval().requires_grad_(False)
    # Biases, norms' scales: not decayed.
    decayed = [p for p in network.parameters() if p.ndim > 1]
    others = [p for p in network.parameters() if p.ndim <= 1]
    optimizer = torch.optim.AdamW(
        [{"params": decayed, "weight_decay": config.optim.weight_decay}, {"params": others, "weight_decay": 0.0}],
        lr=config.optim.lr,
    )
    return TrainState(network, average, optimizer)


def learning_rate(config: OptimConfig, seen: int) -> float:
    """Warm-up, constant, linear cool-down: the end can be moved while the constant part lasts."""
    if seen < config.warmup:
        return config.lr * (seen + 1) / config.warmup
    left = config.total_samples - seen
    span = max(1, config.total_samples - config.cooldown_from)
    return config.lr * min(1.0, max(0.0, left / span))


def train_step(state: TrainState, batch: Batch, config: TrainConfig) -> dict[str, float]:
    """Learn from a batch; what it cost. EnvironmentFault, and nothing learnt, if that or the gradient is not finite."""
    rate = learning_rate(config.optim, state.seen)
    for group in state.optimizer.param_groups:
        group["lr"] = rate
    state.optimizer.zero_grad(set_to_none=True)
    _set_mode(state.network, stage_at(config.stages, state.seen).frozen_norms)
    parts = add_gradient(state.network, batch, config, state.seen)
    norm = nn.utils.clip_grad_norm_(state.network.parameters(), config.optim.clip)
    loss = parts["loss"]
    if not (isfinite(loss) and torch.isfinite(norm)):  # a loss that is not finite can have a gradient that is
        raise EnvironmentFault(
            f"loss {loss}, gradient norm {norm.item()} at sample {state.seen}: go on with a lower optim.lr"
        )
    state.optimizer.step()
    state.seen += batch.images.shape[0]
    state.steps += 1
    _follow(state.average, state.network, min(config.optim.ema, (1 + state.steps) / (10 + state.steps)))
    return {**parts, "lr": rate, "gradient": float(norm)}


def _set_mode(network: XMem, frozen_norms: bool) -> None:
    network.train()
    if frozen_norms:
        for module in network.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.eval()


@torch.no_grad()
def _follow(average: XMem, network: XMem, keep: float) -> None:
    """Move the average a step towards the network, statistics of batch norm included; counters are copied."""
    ours, theirs = average.state_dict(), network.state_dict()
    floats = [name for name, value in ours.items() if value.is_floating_point()]
    torch._foreach_lerp_([ours[n] for n in floats], [theirs[n] for n in floats], 1 - keep)
    for name in ours.keys() - set(floats):
        ours[name].copy_(theirs[name])
