"""Smooth random motion, and warping by it. Output coordinates: u, v in [-1, 1] span the output image."""

from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np

Rng = np.random.Generator


@dataclass
class Track:
    """Placement of a layer in T frames."""

    centre: np.ndarray  # (T, 2) in output units
    scale: np.ndarray  # (T,)
    angle: np.ndarray  # (T,) in rad
    aspect: np.ndarray  # (T,) logarithm of width over height
    bend: np.ndarray  # (T, 2, 5, 5) displacements on a grid, in output units


def walk(rng: Rng, frames: int, shape: tuple[int, ...], drift: float, jitter: float) -> np.ndarray:
    """Return a random walk (T, *shape) from zero; standard deviations of its velocity (drift) and steps (jitter)."""
    velocity = rng.normal(0, drift, shape)
    steps = rng.normal(0, jitter, (frames, *shape)) + velocity
    steps[0] = 0
    return steps.cumsum(0)


def make_track(rng: Rng, frames: int, centre: np.ndarray, scale: float, pace: float, bend: float) -> Track:
    """Return a random track from an initial placement. pace: 1 is brisk motion; bend: size of elastic deformation."""
    path = centre + walk(rng, frames, (2,), 0.12 * pace, 0.06 * pace)
    grid = walk(rng, frames, (2, 5, 5), 0.012 * bend, 0.02 * bend) + rng.normal(0, 0.015 * bend, (1, 2, 5, 5))
    return Track(
        centre=path,
        scale=scale * np.exp(walk(rng, frames, (), 0.08 * pace, 0.04 * pace).clip(-1.1, 0.8)),
        angle=rng.normal(0, 0.15) + walk(rng, frames, (), 0.08 * pace, 0.05 * pace),
        aspect=rng.normal(0, 0.1) + walk(rng, frames, (), 0.03 * pace, 0.03 * pace),
        bend=grid,
    )


def bounce(path: np.ndarray, limit: float) -> np.ndarray:
    """Reflect coordinates at -limit and limit, so that a layer stays in view."""
    return np.abs((path - limit) % (4 * limit) - 2 * limit) - limit


def source_map(track: Track, frame: int, size: int, centre: tuple[float, float], unit: float) -> np.ndarray:
    """Return the source coordinates of each output pixel of a frame: (size, size, 2) float32, x then y, in pixels.

    centre: the source point (x, y) that is placed at track.centre; unit: source pixels per output unit at scale 1.
    """
    cos, sin = np.cos(track.angle[frame]), np.sin(track.angle[frame])
    stretch = np.exp(track.aspect[frame] / 2)
    inverse = np.array([[cos / stretch, sin / stretch], [-sin * stretch, cos * stretch]]) * unit / track.scale[frame]
    offset = np.asarray(centre) - inverse @ track.centre[frame]
    grid = _grid(size)
    if np.abs(track.bend[frame]).max() > 1e-3:
        grid = grid + _upsample(track.bend[frame], size)
    flat = grid.reshape(-1, 2) @ inverse.T.astype(np.float32) + offset.astype(np.float32)
    return flat.reshape(size, size, 2)


def warp(source: np.ndarray, coordinates: np.ndarray, nearest: bool = False, outside_zero: bool = False) -> np.ndarray:
    """Sample a uint8 image at the given coordinates; beyond its edge it is mirrored, or zero."""
    interpolation = cv2.INTER_NEAREST if nearest else cv2.INTER_LINEAR
    border = cv2.BORDER_CONSTANT if outside_zero else cv2.BORDER_REFLECT_101
    # Both coordinates are in one map; OpenCV's type stubs do not know that the second map may be None.
    return cv2.remap(source, coordinates, None, interpolation, borderMode=border)  # type: ignore[call-overload]


@lru_cache(maxsize=8)
def _grid(size: int) -> np.ndarray:
    axis = (np.arange(size, dtype=np.float32) + 0.5) * (2 / size) - 1
    return np.stack(np.meshgrid(axis, axis), -1)


def _upsample(bend: np.ndarray, size: int) -> np.ndarray:
    coarse = np.ascontiguousarray(bend.transpose(1, 2, 0), dtype=np.float32)
    return cv2.resize(coarse, (size, size), interpolation=cv2.INTER_CUBIC)
