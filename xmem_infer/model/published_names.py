"""XMem's checkpoints: mapping of published entry names to this package's names, and the `xmem` family."""

from collections.abc import Collection, Mapping

import torch
from torch import Tensor

from .family import FAMILIES
from .network import XMem
from .sizes import Shape, sizes_of

_STEM = "value_encoder.trunk.conv1.weight"

# (published prefix, own prefix). Only the first matching prefix is replaced, so longer prefixes come first.
_TABLE = (
    ("key_encoder.res2.", "key_encoder.trunk.layer1."),
    ("key_encoder.", "key_encoder.trunk."),
    ("key_proj.key_proj.", "key_projection.key."),
    ("key_proj.d_proj.", "key_projection.shrinkage."),
    ("key_proj.e_proj.", "key_projection.selection."),
    *(
        (f"{part}.fuser.{published}.", f"{part}.fusion.{ours}.")
        for part in ("value_encoder", "decoder")
        for published, ours in (
            ("block1", "res1"),
            ("block2", "res2"),
            ("attention.ChannelGate.mlp.1", "channel_gate.reduce"),
            ("attention.ChannelGate.mlp.3", "channel_gate.expand"),
            ("attention.SpatialGate.spatial.conv", "spatial_gate.conv"),
        )
    ),
    ("value_encoder.hidden_reinforce.", "value_encoder.deep_update."),
    ("value_encoder.", "value_encoder.trunk."),
    ("decoder.hidden_update.g16_conv.", "decoder.sensory_update.g16."),
    ("decoder.hidden_update.g8_conv.", "decoder.sensory_update.g8."),
    ("decoder.hidden_update.g4_conv.", "decoder.sensory_update.g4."),
    ("decoder.hidden_update.", "decoder.sensory_update.cell."),
    ("decoder.up_16_8.skip_conv.", "decoder.up8.skip."),
    ("decoder.up_16_8.out_conv.", "decoder.up8.res."),
    ("decoder.up_8_4.skip_conv.", "decoder.up4.skip."),
    ("decoder.up_8_4.out_conv.", "decoder.up4.res."),
    ("decoder.pred.", "decoder.prediction."),
)


def from_published(name: str) -> str:
    """Return this package's name of a published entry; names that match no prefix are returned unchanged."""
    for published, ours in _TABLE:
        if name.startswith(published):
            return ours + name.removeprefix(published)
    return name


class XMemFamily:
    """See `family.Family`."""

    def recognises(self, names: Collection[str]) -> bool:
        # Published and own names agree in these two.
        return all(any(name.startswith(part) for name in names) for part in ("key_encoder.", "value_encoder."))

    def own_tensors(self, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        """Convert to own names and float32.

        Single-object checkpoints lack the input channel for the other objects' masks: it is added as zeros.
        """
        if any(name.startswith("key_proj.") for name in tensors):  # only published checkpoints have this name
            tensors = {from_published(name): value for name, value in tensors.items()}
        tensors = {name: value.float() if value.is_floating_point() else value for name, value in tensors.items()}
        stem = tensors.get(_STEM)
        if stem is not None and stem.ndim == 4 and stem.shape[1] == 4:
            tensors[_STEM] = torch.cat([stem, torch.zeros_like(stem[:, :1])], 1)
        return tensors

    def build(self, shapes: Mapping[str, Shape]) -> XMem:
        try:
            return XMem(sizes_of(shapes))
        except (KeyError, IndexError):  # entries are missing, which are reported for the published sizes
            return XMem()


FAMILIES.register("xmem")(XMemFamily())
