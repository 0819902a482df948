"""Convolutions over [image features | features of each object], the image's part computed once for all objects.

A convolution is linear in its input channels: conv(cat(a, b)) = conv_a(a) + conv_b(b), and conv_a(a) is the same
for every object. In the decoder's fusion that is 1024 of 1600 channels, in the value encoder's 1024 of 1280, in its
stem 3 of 5.
"""

from torch import Tensor, nn

from ...model.blocks import JointConv2d, per_object


class SharedConv2d(nn.Module):
    """What `JointConv2d` computes, in two convolutions; the sum is rounded in another order."""

    def __init__(self, joint: JointConv2d):
        super().__init__()
        shared = joint.shared_channels
        self.shared = _part(joint, joint.weight[:, :shared], joint.bias)
        self.own = _part(joint, joint.weight[:, shared:], None)

    def forward(self, shared: Tensor, own: Tensor) -> Tensor:
        """shared (B, C, H, W), own (B * O, C', H, W) -> (B * O, out_channels, ...)."""
        once, each = self.shared(shared), self.own(own)
        # With a dimension more, the sum would not be channels last, and all that follows on it several times as slow.
        return each + (once if len(once) == 1 else per_object(once, len(each) // len(once)))


def share_image_features(network: nn.Module) -> None:
    """In place: every `JointConv2d` becomes a `SharedConv2d`."""
    for module in list(network.modules()):
        for name, child in module.named_children():
            if isinstance(child, JointConv2d):
                setattr(module, name, SharedConv2d(child))


def _part(joint: JointConv2d, weight: Tensor, bias: Tensor | None) -> nn.Conv2d:
    """A plain convolution like `joint`, of some of its input channels."""
    part = nn.Conv2d(weight.shape[1], weight.shape[0], 1, bias=bias is not None, device="meta")
    part.kernel_size, part.stride, part.padding = joint.kernel_size, joint.stride, joint.padding
    part.weight = nn.Parameter(weight.detach().clone(), requires_grad=False)
    part.bias = None if bias is None else nn.Parameter(bias.detach().clone(), requires_grad=False)
    return part
