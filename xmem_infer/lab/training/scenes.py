"""Training samples: photos in motion, cut-outs over photos, objects of clips over photos, real clips."""

from dataclasses import dataclass
from typing import NamedTuple

import cv2
import numpy as np

from .layers import Layer, add_sticks, clip_cutouts, cutout, look_alike, object_layer, occluder, pick_frames
from .motion import Rng, Track, make_track, source_map, walk, warp
from .pack import Pack, Picture, Region

# Synthetic clips: a photo in motion, a cut-out over a photo, the object of a clip over a photo.
KINDS, SHARES = ("photo", "cutout", "clip_object"), (0.35, 0.45, 0.20)
SMALLEST = 0.004  # share of the first frame that each object should cover
ATTEMPTS = 4  # how often a sample is drawn again until its objects are large enough


class Sample(NamedTuple):
    images: np.ndarray  # (T, S, S, 3) uint8 RGB
    labels: np.ndarray  # (T, S, S) uint8: 0 background, 1..O


@dataclass
class _Background:
    """The lowest layer: T images or 1 image with labels, seen through a moving window."""

    pictures: list[tuple[np.ndarray, np.ndarray]]
    track: Track
    centre: tuple[float, float]
    unit: float

    def draw(self, frame: int, size: int) -> tuple[np.ndarray, np.ndarray]:
        image, labels = self.pictures[frame if len(self.pictures) > 1 else 0]
        coordinates = source_map(self.track, frame, size, self.centre, self.unit)
        empty = np.zeros((size, size), np.uint8)
        return warp(image, coordinates), warp(labels, coordinates, nearest=True) if labels.any() else empty


def make_sample(pack: Pack, rng: Rng, size: int, frames: int, real: float, objects: int) -> Sample:
    """Generate one sample with labels 1..objects. In rare cases an object is not visible in the first frame."""
    for _ in range(ATTEMPTS):
        kind = "clip" if rng.random() < real else KINDS[rng.choice(len(KINDS), p=SHARES)]
        sample = _compose(pack, rng, kind, size, frames, objects)
        covered = np.bincount(sample.labels[0].ravel(), minlength=objects + 1)[1:]
        if covered.min() >= SMALLEST * size * size:
            break
    return sample


def _compose(pack: Pack, rng: Rng, kind: str, size: int, frames: int, objects: int) -> Sample:
    pace = float(np.exp(rng.uniform(np.log(0.25), np.log(2.4))))
    layers: list[Layer] = []
    if kind == "clip":
        background = _clip_background(pack, rng, frames)
    elif kind == "photo":
        background = _photo_background(pack, rng, frames, pace, objects)
    else:
        background = _photo_background(pack, rng, frames, pace * float(rng.uniform(0, 0.7)), 0)
    on_background = int(max(labels.max() for _, labels in background.pictures))
    for label in range(on_background + 1, objects + 1):
        if kind == "clip_object" and label == 1:
            sources = clip_cutouts(pack, rng, frames)
        elif label == 2 and layers and rng.random() < 0.25:
            layers.append(look_alike(rng, layers[0], frames, label, pace))
            continue
        else:
            sources = [cutout(pack, rng)]
            if rng.random() < 0.12:
                sources = [add_sticks(rng, sources[0])]
        layers.append(object_layer(rng, sources, frames, label, pace))
    _add_distractors(layers, pack, rng, frames, pace, kind)
    images = np.empty((frames, size, size, 3), np.uint8)
    labels = np.empty((frames, size, size), np.uint8)
    for t in range(frames):
        images[t], labels[t] = background.draw(t, size)
        for layer in layers:
            layer.draw(images[t], labels[t], t)
    if rng.random() < 0.5:
        images, labels = images[:, :, ::-1], labels[:, :, ::-1]
    return Sample(_augment(rng, images), np.ascontiguousarray(labels))


def _add_distractors(layers: list[Layer], pack: Pack, rng: Rng, frames: int, pace: float, kind: str) -> None:
    """Insert 0 to 2 distractors (below or between the objects) and occluders (above them)."""
    count = int(rng.choice(3, p=(0.65, 0.25, 0.10) if kind == "clip" else (0.35, 0.40, 0.25)))
    objects = [layer for layer in layers if layer.label]
    for _ in range(count):
        kind_drawn = rng.random()
        if kind_drawn < 0.45:
            layers.append(occluder(pack, rng, frames, pace * 1.5))
            continue
        position = int(rng.integers(len(layers) + 1))
        if kind_drawn < 0.70 and objects:
            layers.insert(position, look_alike(rng, objects[rng.integers(len(objects))], frames, 0, pace))
        else:
            layers.insert(position, object_layer(rng, [cutout(pack, rng)], frames, 0, pace))


def _photo_background(pack: Pack, rng: Rng, frames: int, pace: float, objects: int) -> _Background:
    """Return a photo seen through a moving window; up to `objects` of its regions are labelled."""
    while True:
        index = pack.photos[rng.integers(len(pack.photos))]
        picture = pack.pictures[index]
        if objects == 0 or picture.regions:
            break
    original = pack.labels(index)
    labels = np.zeros_like(original)
    chosen = [picture.regions[i] for i in rng.permutation(len(picture.regions))[:objects]] if objects else []
    for label, region in enumerate(chosen, 1):
        labels[original == region.label] = label
    centre, unit = _window(rng, picture, chosen)
    bend = float(rng.uniform(0, 2.0 if objects else 0.5))
    track = make_track(rng, frames, np.zeros(2), 1.0, pace * 0.7, bend)
    return _Background([(pack.image(index), labels)], track, centre, unit)


def _clip_background(pack: Pack, rng: Rng, frames: int) -> _Background:
    """Return frames of a clip seen through a window that shakes a little."""
    names = list(pack.clips)
    chosen = pick_frames(rng, pack.clips[names[rng.integers(len(names))]], frames)
    first = pack.pictures[chosen[0]]
    centre, unit = _window(rng, first, list(first.regions))
    track = make_track(rng, frames, np.zeros(2), 1.0, 0.12, float(rng.uniform(0, 0.3)))
    return _Background([(pack.image(i), pack.labels(i)) for i in chosen], track, centre, unit)


def _window(rng: Rng, picture: Picture, focus: list[Region]) -> tuple[tuple[float, float], float]:
    """Return centre (x, y) and half side in pixels of a crop, around the first region of `focus` if there is one."""
    short = min(picture.height, picture.width)
    half = 0.5 * short * float(rng.uniform(0.45, 1.0))
    if focus:
        top, left, bottom, right = focus[0].box
        # The window's side is at least 0.6 of the box's: large boxes may exceed it, small ones keep their surroundings.
        half = min(max(half, 0.3 * (bottom - top), 0.3 * (right - left)), 0.5 * short)
        y = rng.uniform(top, bottom) * 0.5 + (top + bottom) / 4 + rng.normal(0, 0.25) * half
        x = rng.uniform(left, right) * 0.5 + (left + right) / 4 + rng.normal(0, 0.25) * half
    else:
        y, x = rng.uniform(0, picture.height), rng.uniform(0, picture.width)
    x, y = np.clip(x, half, picture.width - half), np.clip(y, half, picture.height - half)
    return (float(x), float(y)), half


def _augment(rng: Rng, images: np.ndarray) -> np.ndarray:
    """Change colours, sharpness and noise of images (T, S, S, 3) uint8. Returns a contiguous copy."""
    frames = len(images)
    gain = np.exp(rng.normal(0, 0.15) + rng.normal(0, 0.05, 3) + walk(rng, frames, (3,), 0.02, 0.03))
    shift = rng.normal(0, 10) + walk(rng, frames, (1,), 3, 4)
    gamma = np.exp(rng.normal(0, 0.15) + walk(rng, frames, (1,), 0.02, 0.03))
    blurred, noisy, grey = rng.random() < 0.2, rng.random() < 0.3, rng.random() < 0.04
    out = np.empty_like(images, order="C")
    level = np.linspace(0, 1, 256)[:, None]
    for t in range(frames):
        table = (255 * level ** gamma[t] * gain[t] + shift[t]).clip(0, 255).astype(np.uint8)
        frame = cv2.LUT(np.ascontiguousarray(images[t]), table[None])
        if grey:
            frame = cv2.cvtColor(cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
        if blurred and rng.random() < 0.7:
            frame = _blur(rng, frame)
        if noisy:
            grain = np.empty(frame.shape, np.int16)
            cv2.setRNGSeed(int(rng.integers(2**31 - 1)))
            cv2.randn(grain, np.zeros(3), np.full(3, rng.uniform(2, 9)))
            frame = (frame + grain).clip(0, 255).astype(np.uint8)
        out[t] = frame
    return out


def _blur(rng: Rng, frame: np.ndarray) -> np.ndarray:
    reach = max(3, frame.shape[0] // 32) | 1
    if rng.random() < 0.5:
        return cv2.GaussianBlur(frame, (0, 0), float(rng.uniform(0.4, 0.25 * reach)))
    angle = rng.uniform(0, np.pi)
    kernel = np.zeros((reach, reach), np.float32)
    middle = reach // 2
    step = (np.array([np.cos(angle), np.sin(angle)]) * middle).round().astype(int)
    cv2.line(kernel, (middle - step[0], middle - step[1]), (middle + step[0], middle + step[1]), 1.0)
    return cv2.filter2D(frame, -1, kernel / kernel.sum())
