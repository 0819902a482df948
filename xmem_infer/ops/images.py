"""Preparation of images for the network: normalisation, resizing to the working size, padding."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)
STRIDE = 16


class Padding(NamedTuple):
    """Number of pixels added on each side, so that height and width become multiples of 16."""

    left: int
    right: int
    top: int
    bottom: int


def working_size(height: int, width: int, size: int, enlarge: bool = True) -> tuple[int, int]:
    """Return the (height, width) at which the network processes a frame.

    Args:
        height: Height of the frame in px.
        width: Width of the frame in px.
        size: Short side in px; the long side is scaled accordingly and rounded down. -1 keeps the original size.
        enlarge: Whether frames with a smaller short side are enlarged.
    """
    short = min(height, width)
    if size == -1 or size == short or (size > short and not enlarge):
        return height, width
    return size * height // short, size * width // short


def normalise(image: Tensor) -> Tensor:
    """Normalise (H, W, 3) uint8 RGB to (3, H, W) float32 with ImageNet's mean and standard deviation."""
    # Channels first and in place: ten times as fast as broadcasting over interleaved channels in each step.
    pixels = image.permute(2, 0, 1).contiguous().float().div_(255)
    mean, std = pixels.new_tensor(MEAN), pixels.new_tensor(STD)
    return pixels.sub_(mean[:, None, None]).div_(std[:, None, None])


def resize(image: Tensor, size: tuple[int, int], antialias: bool = False) -> Tensor:
    """Resize (C, H, W) bilinearly with align_corners=False; return it unchanged if it has this size already."""
    if image.shape[-2:] == size:
        return image
    return F.interpolate(image[None], size, mode="bilinear", align_corners=False, antialias=antialias)[0]


def resize_labels(labels: Tensor, size: tuple[int, int], mode: str = "nearest") -> Tensor:
    """Resize a label image (H, W); mode: nearest or nearest-exact. Equal to resizing one channel per label."""
    if labels.shape == size:
        return labels
    return F.interpolate(labels[None, None].float(), size, mode=mode)[0, 0].to(labels.dtype)


def padding_for(height: int, width: int) -> Padding:
    """Return the padding to multiples of 16; an odd pixel is added on the right or at the bottom."""
    extra_h, extra_w = -height % STRIDE, -width % STRIDE
    return Padding(extra_w // 2, extra_w - extra_w // 2, extra_h // 2, extra_h - extra_h // 2)


def pad(x: Tensor, padding: Padding, colour: Sequence[float] | None = None) -> Tensor:
    """Pad the last two axes of (C, H, W) with a colour (one number per channel), or with zeros."""
    if not any(padding):
        return x
    if colour is None:
        return F.pad(x, tuple(padding))
    planes = zip(x, colour, strict=True)
    return torch.stack([F.pad(plane, tuple(padding), value=value) for plane, value in planes])
