"""Fold each batch norm into the preceding convolution: in evaluation mode the two are a single affine map."""

from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval


def fold_batch_norm(network: nn.Module) -> None:
    """Fold every batch norm of a network in evaluation mode into its convolution, in place."""
    for module in list(network.modules()):
        if isinstance(module, nn.Sequential):
            pairs = [(str(i), str(i + 1)) for i in range(len(module) - 1)]
        else:
            pairs = [(name, name.replace("conv", "bn")) for name, _ in module.named_children() if "conv" in name]
        for conv_name, norm_name in pairs:
            conv, norm = getattr(module, conv_name), getattr(module, norm_name, None)
            if isinstance(conv, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
                setattr(module, conv_name, fuse_conv_bn_eval(conv, norm))
                setattr(module, norm_name, nn.Identity())
