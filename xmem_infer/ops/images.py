"""Pixels in: normalisation, the size the network works at, padding."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)
STRIDE = 16


class Padding(NamedTuple):
    """Pixels added on each side so that both sides divide by 16."""

    left: int
    right: int
    top: int
    bottom: int


def working_size(height: int, width: int, size: int, enlarge: bool = True) -> tuple[int, int]:
    """Height and width inside the network: short side `size`, the long one rounded down; -1 keeps both.

    enlarge: whether smaller pictures are made larger.
    """
    short = min(height, width)
    if size == -1 or size == short or (size > short and not enlarge):
        return height, width
    return size * height // short, size * width // short


def normalise(image: Tensor) -> Tensor:
    """(H, W, 3) uint8 RGB -> (3, H, W) float32 with ImageNet's mean and deviation taken out."""
    # Planes first, and one array for all steps: ten times as fast as going through the interleaved colours each time.
    pixels = image.permute(2, 0, 1).contiguous().float().div_(255)
    mean, std = pixels.new_tensor(MEAN), pixels.new_tensor(STD)
    return pixels.sub_(mean[:, None, None]).div_(std[:, None, None])


def resize(image: Tensor, size: tuple[int, int], antialias: bool = False) -> Tensor:
    """Bilinear resize of (C, H, W), align_corners=False; untouched where the size is right already."""
    if image.shape[-2:] == size:
        return image
    return F.interpolate(image[None], size, mode="bilinear", align_corners=False, antialias=antialias)[0]


def resize_labels(labels: Tensor, size: tuple[int, int], mode: str = "nearest") -> Tensor:
    """Resize of a label image (H, W), the same as resizing one channel per label; mode: nearest or nearest-exact."""
    if labels.shape == size:
        return labels
    return F.interpolate(labels[None, None].float(), size, mode=mode)[0, 0].to(labels.dtype)


def padding_for(height: int, width: int) -> Padding:
    """Padding to multiples of 16: the floor of half before, the rest after."""
    extra_h, extra_w = -height % STRIDE, -width % STRIDE
    return Padding(extra_w // 2, extra_w - extra_w // 2, extra_h // 2, extra_h - extra_h // 2)


def pad(x: Tensor, padding: Padding, colour: Sequence[float] | None = None) -> Tensor:
    """Add pixels around the last two axes of (C, H, W): of a colour, one number a channel, or zeros."""
    if not any(padding):
        return x
    if colour is None:
        return F.pad(x, tuple(padding))
    planes = zip(x, colour, strict=True)
    return torch.stack([F.pad(plane, tuple(padding), value=value) for plane, value in planes])


def unpad(x: Tensor, padding: Padding) -> Tensor:
    """Take `padding` off the last two axes again."""
    left, right, top, bottom = padding
    return x[..., top : x.shape[-2] - bottom, left : x.shape[-1] - right]
