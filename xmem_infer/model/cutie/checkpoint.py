"""Cutie's checkpoints: mapping of published entry names to this package's names, and the `cutie` family."""

from collections.abc import Collection, Mapping

import torch
from torch import Tensor

from ..family import FAMILIES
from ..sizes import Shape
from .network import Cutie
from .sizes import sizes_of

# (published part, own part). All are replaced, in this order, wherever they occur in a name.
_TABLE = (
    ("pix_feat_proj.", "pixel_projection."),
    ("key_proj.pixel_projection.", "key_projection.reduce."),
    ("key_proj.key_proj.", "key_projection.project.key."),
    ("key_proj.d_proj.", "key_projection.project.shrinkage."),
    ("key_proj.e_proj.", "key_projection.project.selection."),
    ("pixel_encoder.res2.", "pixel_encoder.layer1."),
    *((f"mask_encoder.{part}", f"mask_encoder.trunk.{part}") for part in ("conv1.", "bn1.", "layer")),
    ("mask_encoder.sensory_update.", "mask_encoder.deep_update."),
    ("fuser.distributor.x_transform.", "fuser.shared."),
    ("fuser.distributor.g_transform.", "fuser.own."),
    (".fuser.", ".fusion."),
    ("sensory_compress.", "compress."),
    ("pos_enc.", "positions."),
    ("spatial_pe.", "positions."),
    ("feature_pred.", "features."),
    ("weights_pred.", "weights."),
    ("summary_to_query_init.", "summary_init."),
    ("summary_to_query_emb.", "summary_position."),
    ("query_emb.", "query_position."),
    ("pixel_init_proj.", "pixel_init."),
    ("pixel_emb_proj.", "pixel_position."),
    ("read_from_pixel.cross_attn.", "read_pixels."),
    ("read_from_pixel.norm.", "read_pixels_norm."),
    ("self_attn.self_attn.", "self_attention."),
    ("self_attn.norm.", "self_norm."),
    ("read_from_query.cross_attn.", "read_queries."),
    ("ffn.linear1.", "linear1."),
    ("ffn.linear2.", "linear2."),
    ("ffn.norm.", "linear_norm."),
    ("pixel_ffn.conv.", "pixel_block."),
    *((f"{block}.conv.", f"{block}.gate.") for block in ("block1", "block2", "pixel_block")),
    *((f"mask_pred.{number}.1.", f"mask_prediction.{number}.") for number in range(16)),
    ("decoder_feat_proc.transforms.0.", "up8.skip."),
    ("decoder_feat_proc.transforms.1.", "up4.skip."),
    ("up_16_8.out_conv.", "up8.res."),
    ("up_8_4.out_conv.", "up4.res."),
    ("mask_decoder.pred.", "mask_decoder.prediction."),
    *((f"sensory_update.{stride}_conv.", f"sensory_update.{stride}.") for stride in ("g16", "g8", "g4")),
    ("mask_decoder.sensory_update.transform.", "mask_decoder.sensory_update.cell.transform."),
)


def from_published(name: str) -> str:
    """Return this package's name of a published entry; own names are returned unchanged."""
    for published, ours in _TABLE:
        name = name.replace(published, ours)
    return name


class CutieFamily:
    """See `family.Family`."""

    def recognises(self, names: Collection[str]) -> bool:
        # Published and own names agree in these two.
        return all(any(name.startswith(part) for name in names) for part in ("pixel_encoder.", "mask_encoder."))

    def own_tensors(self, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        """Convert to own names and float32, and drop entries that only training uses.

        Single-object checkpoints lack the input channels for the other objects' masks: they are added as zeros.
        """
        own = {
            from_published(name): value.float() if value.is_floating_point() else value
            for name, value in tensors.items()
            if not name.startswith("aux_computer.")
        }
        blocks = {name.split(".")[2] for name in own if name.startswith("object_transformer.blocks.")}
        for part in ("weight", "bias"):  # the mask prediction after the last block is not used at inference
            own.pop(f"object_transformer.mask_prediction.{len(blocks)}.{part}", None)
        channels = own["pixel_projection.weight"].shape[0] if "pixel_projection.weight" in own else 0
        single_object_channels = {"mask_encoder.trunk.conv1.weight": 4, "pixel_fuser.compress.weight": channels + 1}
        for name, count in single_object_channels.items():
            weight = own.get(name)
            if weight is not None and weight.ndim == 4 and weight.shape[1] == count:
                own[name] = torch.cat([weight, torch.zeros_like(weight[:, :1])], 1)
        return own

    def build(self, shapes: Mapping[str, Shape]) -> Cutie:
        try:
            return Cutie(sizes_of(shapes))
        except (KeyError, IndexError):  # entries are missing, which are reported for the published base sizes
            return Cutie()


FAMILIES.register("cutie")(CutieFamily())
