"""Split convolutions over [image features | object features], so that the image's part is computed only once.

A convolution is linear in its input channels: conv(cat(a, b)) = conv_a(a) + conv_b(b), and conv_a(a) is the same for
every object. The shared part is 1024 of 1600 channels in the decoder's fusion, 1024 of 1280 in the value encoder's
fusion, and 3 of 5 in the value encoder's stem.
"""

from torch import Tensor, nn

from ...model.blocks import JointConv2d, per_object


class SharedConv2d(nn.Module):
    """Two convolutions that compute the same as a `JointConv2d`, up to the order of rounding."""

    def __init__(self, joint: JointConv2d):
        super().__init__()
        shared = joint.shared_channels
        self.shared = convolution_like(joint, joint.weight[:, :shared], joint.bias)
        self.own = convolution_like(joint, joint.weight[:, shared:], None)

    def forward(self, shared: Tensor, own: Tensor) -> Tensor:
        """shared (B, C, H, W), own (B * O, C', H, W) -> (B * O, out_channels, ...)."""
        once, each = self.shared(shared), self.own(own)
        # Broadcasting over an additional dimension would lose the channels-last layout and slow down later layers
        # several times.
        return each + (once if len(once) == 1 else per_object(once, len(each) // len(once)))


def share_image_features(network: nn.Module) -> None:
    """Replace every `JointConv2d` by a `SharedConv2d`, in place."""
    for module in list(network.modules()):
        for name, child in module.named_children():
            if isinstance(child, JointConv2d):
                setattr(module, name, SharedConv2d(child))


def convolution_like(conv: nn.Conv2d, weight: Tensor, bias: Tensor | None) -> nn.Conv2d:
    """Return a plain convolution like `conv` with a copy of other weights, which need no gradients."""
    # On the meta device, because initialising weights would advance the caller's random number generator.
    made = nn.Conv2d(weight.shape[1], weight.shape[0], 1, bias=bias is not None, device="meta")
    made.kernel_size, made.stride, made.padding = conv.kernel_size, conv.stride, conv.padding
    made.weight = nn.Parameter(weight.detach().clone(), requires_grad=False)
    made.bias = None if bias is None else nn.Parameter(bias.detach().clone(), requires_grad=False)
    return made
