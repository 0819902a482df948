"""Make the decoder of a trained network narrower: keep its most important channels, then imitate the original."""

import json
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from tqdm import tqdm

from ...config import MemoryConfig
from ...errors import UsageError
from ...model.network import XMem
from ...model.sizes import NetworkSizes
from ...weights.build import load_network
from ..report import output_folder
from .batches import Batch, batches
from .checkpoint import write_weights
from .config import Stage
from .pack import decode_pack
from .step import network_inputs
from .unroll import unroll

MEASURED = 30  # batches on which the importance of channels is measured
RATE = 1e-3  # Adam's first learning rate; it falls to zero linearly
# For each layer of the decoder, which sets of output and of input channels are reduced (None: all channels are kept).
# Sets: of the features at strides 16 and 8; between the convolutions of residual blocks; inside the gate.
DECODER: dict[str, tuple[str | None, str | None]] = {
    "fusion.res1.conv1": ("res1", None),
    "fusion.res1.conv2": ("g16", "res1"),
    "fusion.res1.downsample": ("g16", None),
    "fusion.channel_gate.reduce": ("gate", "g16"),
    "fusion.channel_gate.expand": ("g16", "gate"),
    "fusion.res2.conv1": ("res2", "g16"),
    "fusion.res2.conv2": ("g16", "res2"),
    "up8.skip": ("g16", None),
    "up8.res.conv1": ("up8", "g16"),
    "up8.res.conv2": ("g8", "up8"),
    "up8.res.downsample": ("g8", "g16"),
    "up4.skip": ("g8", None),
    "up4.res.conv1": (None, "g8"),
    "up4.res.downsample": (None, "g8"),
    "sensory_update.g16": (None, "g16"),
    "sensory_update.g8": (None, "g8"),
}
# The layer whose input channels are measured to choose the channels of a set.
MEASURED_AT = {
    "res1": "fusion.res1.conv2",
    "res2": "fusion.res2.conv2",
    "g16": "up8.res.conv1",
    "up8": "up8.res.conv2",
    "g8": "up4.res.conv1",
}
IMITATED = ["up4", "prediction", "sensory_update"]
Widths = tuple[int, int]  # channels of a decoder at strides 16 and 8


def slim_weights(file: Path, out: Path, tars: list[Path], cache: Path, widths: Widths, samples: int, seed: int) -> None:
    """Write the weights of a network whose narrower decoder imitates that of the one in `file`; see `slim_network`.

    The arguments are those of `scripts/slim_weights.py`. Metadata: that of `file`, which describes how it was trained,
    and in `slimmed` how this file came from it.
    """
    loaded = load_network(file)
    network: Any = loaded.network
    slim_sizes(network.sizes, widths)  # here and below: what cannot work is refused before the data is decoded
    output_folder(out.parent)
    packs = [decode_pack(tar, cache) for tar in tars]
    # Small crops for three quarters of the samples, then large ones.
    small = Stage(until=3 * samples // 4, size=192, frames=4, batch=3, real=0.5, two_objects=0.35)
    large = Stage(until=samples, size=320, frames=4, batch=2, real=0.6, two_objects=0.35)
    slim = slim_network(network, widths, packs, [small, large], seed)
    how = {"from": f"sha256 {loaded.sha256}", "widths": widths, "samples": samples, "seed": seed}
    metadata = {name: text for name, text in loaded.metadata.items() if name not in ("network", "scores")}
    write_weights(slim, {**metadata, "slimmed": json.dumps(how)}, out)


def slim_network(network: XMem, widths: Widths, packs: list[Path], curriculum: list[Stage], seed: int) -> XMem:
    """Return a network with a narrower decoder that imitates that of `network`; all other parts are the same.

    network: in evaluation mode; packs: folders of decoded training data; curriculum: its end is that of the training;
    seed: determines the samples. Raises UsageError if the widths are not possible.
    """
    slim = XMem(slim_sizes(network.sizes, widths)).eval()
    with closing(batches(packs, curriculum, seed, 0, workers=1)) as stream:
        slim.load_state_dict(_kept_entries(network, widths, _second_moments(network, stream)))
        _imitate(slim.decoder, network, stream, curriculum[-1].until)
    return slim


def slim_sizes(sizes: NetworkSizes, widths: Widths) -> NetworkSizes:
    """Return the sizes of the narrower network. Raises UsageError if the widths are not possible."""
    (coarse, fine), (most_coarse, most_fine, finest) = widths, sizes.decoder
    # A residual block with equal numbers of input and output channels has no convolution on its skip connection.
    if not (finest < fine <= most_fine and fine < coarse <= most_coarse):
        raise UsageError(
            f"decoder widths {coarse} {fine}: at stride 8, from {finest + 1} to {most_fine} is possible; at stride 16, "
            f"more than at stride 8 and at most {most_coarse}"
        )
    return replace(sizes, decoder=(coarse, fine, finest))


def _second_moments(network: XMem, stream: Iterator[Batch]) -> dict[str, Tensor]:
    """Return for each input channel of the measured layers the mean of x^2, summed over all calls."""
    moments: dict[str, Any] = dict.fromkeys(MEASURED_AT.values(), 0)
    for _ in range(MEASURED):
        with _recorded(network.decoder, list(moments)) as calls:
            _unroll(network, next(stream))
        for call in calls:
            moments[call.layer] += call.args[0].square().mean((0, 2, 3))
    return moments


def _kept_entries(network: XMem, widths: Widths, moments: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return the entries of the narrower network: those of the channels that change the next layer's output most."""
    entries = dict(network.state_dict())
    sets: dict[str | None, Any] = {None: slice(None)}
    coarse, fine = widths
    for channels, layer in MEASURED_AT.items():
        weight = entries[f"decoder.{layer}.weight"]
        effect = moments[layer].sqrt() * weight.transpose(0, 1).flatten(1).norm(dim=1)
        count = fine if channels in ("up8", "g8") else coarse
        sets[channels] = effect.topk(count).indices.sort().values
    inside = entries["decoder.fusion.channel_gate.expand.weight"].norm(dim=0)
    sets["gate"] = inside.topk(coarse // 16).indices.sort().values
    for layer, (out, into) in DECODER.items():
        weight, bias = f"decoder.{layer}.weight", f"decoder.{layer}.bias"
        entries[weight], entries[bias] = entries[weight][sets[out]][:, sets[into]], entries[bias][sets[out]]
    return entries


def _imitate(slim: nn.Module, network: XMem, stream: Iterator[Batch], samples: int) -> None:
    """Train the decoder `slim` until its outputs are similar to those of `network`'s decoder, given the same inputs."""
    trained = list(slim.parameters())
    optimizer, seen = torch.optim.Adam(trained, lr=RATE), 0
    with tqdm(total=samples, desc="imitating", unit="sample", disable=None) as bar:
        while seen < samples:
            batch = next(stream)
            with _recorded(network, ["decoder"]) as decoded, _recorded(network.decoder, IMITATED) as expected:
                _unroll(network, batch)
            with _recorded(slim, IMITATED) as found:
                for call in decoded:
                    slim(*call.args, **call.kwargs)
            # The mean squared differences, relative to the variance.
            pairs = [(own.result, theirs.result) for own, theirs in zip(found, expected, strict=True)]
            losses = [(own - theirs).square().mean() / (theirs.var() + 1e-6) for own, theirs in pairs]
            loss = torch.stack(losses).sum() / len(decoded)
            optimizer.param_groups[0]["lr"] = RATE * (1 - seen / samples) * min(1, (seen + 1) / 100)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            nn.utils.clip_grad_norm_(trained, 3.0)
            optimizer.step()
            bar.set_postfix(loss=f"{loss.item():.3f}", refresh=False)
            seen += len(batch.images)
            bar.update(seen - bar.n)


class _Call(NamedTuple):
    layer: str
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    result: Any


@contextmanager
def _recorded(network: nn.Module, layers: list[str]) -> Iterator[list[_Call]]:
    """Record the calls of layers while the context is active."""
    calls: list[_Call] = []

    def record(layer: str, _: nn.Module, *call: Any) -> None:
        calls.append(_Call(layer, *call))

    with ExitStack() as hooks:
        for layer in layers:
            module = network.get_submodule(layer)
            hooks.enter_context(module.register_forward_hook(partial(record, layer), with_kwargs=True))
        yield calls


@torch.no_grad()
def _unroll(network: XMem, batch: Batch) -> None:
    """Segment a batch of clips. Every second frame is a memory frame; the others update the sensory memory."""
    images, masks, coarse = network_inputs(batch.images, batch.labels, batch.objects)
    memory_at = [t % 2 == 0 for t in range(images.shape[1])]
    unroll(network, images, masks[:, 0], coarse[:, 0], memory_at, MemoryConfig().top_k)
