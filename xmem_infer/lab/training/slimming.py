"""Make the decoder of a trained network narrower: keep its most important channels, then imitate the original."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
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

STAGE = Stage(until=1, size=192, frames=4, batch=3, real=0.5, two_objects=0.35)  # the only one, so it has no end
MEASURED = 30  # batches on which the importance of channels is measured
RATE = 1e-3  # Adam's first learning rate; it falls to zero linearly
# Sets of channels: of the decoder at stride 16; between the convolutions of its residual blocks; inside its gate.
STREAM, FIRST, SECOND, GATE = "stream", "first", "second", "gate"
# For each layer of the decoder, which of its output and of its input channels are kept (None: all).
DECODER: dict[str, tuple[str | None, str | None]] = {
    "fusion.res1.conv1": (FIRST, None),
    "fusion.res1.conv2": (STREAM, FIRST),
    "fusion.res1.downsample": (STREAM, None),
    "fusion.channel_gate.reduce": (GATE, STREAM),
    "fusion.channel_gate.expand": (STREAM, GATE),
    "fusion.res2.conv1": (SECOND, STREAM),
    "fusion.res2.conv2": (STREAM, SECOND),
    "up8.skip": (STREAM, None),
    "up8.res.conv1": (None, STREAM),
    "up8.res.downsample": (None, STREAM),
    "sensory_update.g16": (None, STREAM),
}
# The layer whose input channels are measured to choose the channels of a set.
MEASURED_AT = {FIRST: "fusion.res1.conv2", SECOND: "fusion.res2.conv2", STREAM: "up8.res.conv1"}
IMITATED = ["up8", "up4", "prediction", "sensory_update"]


def slim_weights(file: Path, out: Path, tars: list[Path], cache: Path, width: int, samples: int, seed: int) -> None:
    """Write the weights of a network whose narrower decoder imitates that of the one in `file`; see `slim_network`.

    Metadata: that of `file`, which describes how it was trained, and in `slimmed` how this file came from it.

    Args:
        file: Weights of the embedded model.
        out: The new file.
        tars: Training data, see `TrainConfig.data_packs`.
        cache: Folder for the decoded training data.
        width, samples, seed: As for `slim_network`.
    """
    loaded = load_network(file)
    network: Any = loaded.network
    slim_sizes(network.sizes, width)  # here and below: what cannot work is refused before the data is decoded
    output_folder(out.parent)
    packs = [decode_pack(tar, cache) for tar in tars]
    slim = slim_network(network, width, packs, samples, seed)
    how = {"from": f"sha256 {loaded.sha256}", "width": width, "samples": samples, "seed": seed}
    metadata = {name: text for name, text in loaded.metadata.items() if name not in ("network", "scores")}
    write_weights(slim, {**metadata, "slimmed": json.dumps(how)}, out)


def slim_network(network: XMem, width: int, packs: list[Path], samples: int, seed: int, stage: Stage = STAGE) -> XMem:
    """Return a network with a narrower decoder that imitates that of `network`; all other parts are the same.

    Args:
        network: A trained network, in evaluation mode.
        width: Channels of the new decoder at stride 16.
        packs: Folders of decoded training data.
        samples: Number of training samples.
        seed: Determines the samples.
        stage: Size, number and kind of the samples' frames.

    Raises:
        UsageError: The width is not possible.
    """
    sizes = slim_sizes(network.sizes, width)
    stream = batches(packs, [stage], seed, 0, workers=1)
    slim = XMem(sizes).eval()
    slim.load_state_dict(_kept_entries(network, width, _second_moments(network, stream)))
    _imitate(slim.decoder, network, stream, samples)
    return slim


def slim_sizes(sizes: NetworkSizes, width: int) -> NetworkSizes:
    """Return the sizes of the narrower network. Raises UsageError if the width is not possible."""
    most, fine, finest = sizes.decoder
    # With no more channels than at the next stride, a residual block would lose its skip connection's convolution.
    if not fine < width <= most:
        raise UsageError(f"decoder width {width}: from {fine + 1} to {most} is possible")
    return replace(sizes, decoder=(width, fine, finest))


def _second_moments(network: XMem, stream: Iterator[Batch]) -> dict[str, Tensor]:
    """Return for each input channel of the measured layers the mean of x^2, summed over all calls."""
    moments = {layer: torch.zeros(()) for layer in MEASURED_AT.values()}
    for _ in range(MEASURED):
        with _recorded(network.decoder, list(moments)) as calls:
            _unroll(network, next(stream))
        for call in calls:
            moments[call.layer] = moments[call.layer] + call.args[0].square().mean((0, 2, 3))
    return moments


def _kept_entries(network: XMem, width: int, moments: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return the entries of the narrower network: those of the channels that change the next layer's output most."""
    entries = dict(network.state_dict())
    sets: dict[str | None, Any] = {None: slice(None)}
    for channels, layer in MEASURED_AT.items():
        weight = entries[f"decoder.{layer}.weight"]
        effect = moments[layer].sqrt() * weight.transpose(0, 1).flatten(1).norm(dim=1)
        sets[channels] = effect.topk(width).indices.sort().values
    inside = entries["decoder.fusion.channel_gate.expand.weight"].norm(dim=0)
    sets[GATE] = inside.topk(width // 16).indices.sort().values
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
            pairs = zip(found, expected, strict=True)
            loss = torch.stack([_difference(own.result, theirs.result) for own, theirs in pairs]).sum() / len(decoded)
            optimizer.param_groups[0]["lr"] = RATE * (1 - seen / samples) * min(1, (seen + 1) / 100)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            nn.utils.clip_grad_norm_(trained, 3.0)
            optimizer.step()
            bar.set_postfix(loss=f"{loss.item():.3f}", refresh=False)
            seen += len(batch.images)
            bar.update(seen - bar.n)


class _Call(NamedTuple):
    """A call of a layer, by name."""

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

    handles = [
        network.get_submodule(layer).register_forward_hook(partial(record, layer), with_kwargs=True) for layer in layers
    ]
    try:
        yield calls
    finally:
        for handle in handles:
            handle.remove()


def _difference(own: Tensor, theirs: Tensor) -> Tensor:
    """Return the mean squared difference, relative to the variance."""
    return (own - theirs).square().mean() / (theirs.var() + 1e-6)


@torch.no_grad()
def _unroll(network: XMem, batch: Batch) -> None:
    """Segment a batch of clips. Every second frame is a memory frame; the others update the sensory memory."""
    images, masks, coarse = network_inputs(batch.images, batch.labels, batch.objects)
    memory_at = [t % 2 == 0 for t in range(images.shape[1])]
    unroll(network, images, masks[:, 0], coarse[:, 0], memory_at, MemoryConfig().top_k)
