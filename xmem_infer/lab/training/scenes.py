"""Training samples: whole-photo motion, cut-outs on photos, clip objects on photos, real clips."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from .layers import Layer, add_sticks, clip_cutouts, cutout, look_alike, object_layer, occluder, pick_frames
from .motion import Rng, Track, make_track, source_map, walk, warp
from .pack import Pack, Picture, Region

# Of the pseudo-videos: whole-photo motion, cut-out on photo, clip object on photo.
KINDS, SHARES = ("photo", "cutout", "clip_object"), (0.35, 0.45, 0.20)
SMALLEST = 0.004  # share of the first frame that an object must cover
ATTEMPTS = 4  # samples that are drawn until one is like that


class Sample(NamedTuple):
    """images (T, S, S, 3) uint8 RGB; labels (T, S, S) uint8: 0 background, 1..O."""

    images: np.ndarray
    labels: np.ndarray


@dataclass
class _Background:
    """The lowest layer: T or 1 pictures with labels, seen through a moving window."""

    pictures: list[tuple[np.ndarray, np.ndarray]]
    track: Track
    centre: tuple[float, float]
    unit: float

    def draw(self, frame: int, size: int) -> tuple[np.ndarray, np.ndarray]:
        image, labels = self.pictures[frame if len(self.pictures) > 1 else 0]
        where = source_map(self.track, frame, size, self.centre, self.unit)
        empty = np.zeros((size, size), np.uint8)
        return warp(image, where), warp(labels, where, nearest=True) if labels.any() else empty


def make_sample(pack: Pack, rng: Rng, size: int, frames: int, real: float, objects: int) -> Sample:
    """Draw one sample with labels 1..objects. An object without a place in the first frame is rare but possible."""
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
    on_background = 0 if kind in ("cutout", "clip_object") else int(max(p[1].max() for p in background.pictures))
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
    _add_others(layers, pack, rng, frames, pace, kind)
    images = np.empty((frames, size, size, 3), np.uint8)
    labels = np.empty((frames, size, size), np.uint8)
    for t in range(frames):
        images[t], labels[t] = background.draw(t, size)
        for layer in layers:
            layer.draw(images[t], labels[t], t)
    if rng.random() < 0.5:
        images, labels = images[:, :, ::-1], labels[:, :, ::-1]
    return Sample(_change_look(rng, images), np.ascontiguousarray(labels))


def _add_others(layers: list[Layer], pack: Pack, rng: Rng, frames: int, pace: float, kind: str) -> None:
    """Add 0-2 distractors (below or between the objects) and occluders (above)."""
    count = int(rng.choice(3, p=(0.65, 0.25, 0.10) if kind == "clip" else (0.35, 0.40, 0.25)))
    followed = [layer for layer in layers if layer.label]
    for _ in range(count):
        what = rng.random()
        if what < 0.45:
            layers.append(occluder(pack, rng, frames, pace * 1.5))
            continue
        place = int(rng.integers(len(layers) + 1))
        if what < 0.70 and followed:
            layers.insert(place, look_alike(rng, followed[rng.integers(len(followed))], frames, 0, pace))
        else:
            layers.insert(place, object_layer(rng, [cutout(pack, rng)], frames, 0, pace))


def _photo_background(pack: Pack, rng: Rng, frames: int, pace: float, objects: int) -> _Background:
    """A photo under a moving window; with `objects` > 0, up to that many of its regions are labelled."""
    while True:
        index = pack.photos[rng.integers(len(pack.photos))]
        picture = pack.pictures[index]
        if objects == 0 or picture.regions:
            break
    found = pack.labels(index)
    labels = np.zeros_like(found)
    chosen = [picture.regions[place] for place in rng.permutation(len(picture.regions))[:objects]] if objects else []
    for label, region in enumerate(chosen, 1):
        labels[found == region.label] = label
    centre, unit = _window(rng, picture, chosen)
    bend = float(rng.uniform(0, 2.0 if objects else 0.5))
    track = make_track(rng, frames, np.zeros(2), 1.0, pace * 0.7, bend)
    return _Background([(pack.image(index), labels)], track, centre, unit)


def _clip_background(pack: Pack, rng: Rng, frames: int) -> _Background:
    """Frames of a clip through a window that shakes a little."""
    names = list(pack.clips)
    chosen = pick_frames(rng, pack.clips[names[rng.integers(len(names))]], frames)
    first = pack.pictures[chosen[0]]
    centre, unit = _window(rng, first, list(first.regions))
    track = make_track(rng, frames, np.zeros(2), 1.0, 0.12, float(rng.uniform(0, 0.3)))
    return _Background([(pack.image(i), pack.labels(i)) for i in chosen], track, centre, unit)


def _window(rng: Rng, picture: Picture, focus: list[Region]) -> tuple[tuple[float, float], float]:
    """Centre (x, y) and half side in pixels of a crop, around the first region of `focus` if there is one."""
    short = min(picture.height, picture.width)
    half = 0.5 * short * float(rng.uniform(0.45, 1.0))
    if focus:
        top, left, bottom, right = focus[0].box
        # Boxes larger than the window are common; much smaller ones are seen in context.
        half = min(max(half, 0.3 * (bottom - top), 0.3 * (right - left)), 0.5 * short)
        y = rng.uniform(top, bottom) * 0.5 + (top + bottom) / 4 + rng.normal(0, 0.25) * half
        x = rng.uniform(left, right) * 0.5 + (left + right) / 4 + rng.normal(0, 0.25) * half
    else:
        y, x = rng.uniform(0, picture.height), rng.uniform(0, picture.width)
    x, y = np.clip(x, half, picture.width - half), np.clip(y, half, picture.height - half)
    return (float(x), float(y)), half


def _change_look(rng: Rng, images: np.ndarray) -> np.ndarray:
    """(T, S, S, 3) uint8 -> the same, contiguous, with colours, sharpness and noise changed."""
    import cv2

    frames = len(images)
    gain = np.exp(rng.normal(0, 0.15) + rng.normal(0, 0.05, 3) + walk(rng, frames, (3,), 0.02, 0.03))
    shift = rng.normal(0, 10) + walk(rng, frames, (1,), 3, 4)
    gamma = np.exp(rng.normal(0, 0.15) + walk(rng, frames, (1,), 0.02, 0.03))
    blurred = rng.random() < 0.2
    noisy = rng.random() < 0.3
    grey = rng.random() < 0.04
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
    import cv2

    reach = max(3, frame.shape[0] // 32) | 1
    if rng.random() < 0.5:
        return cv2.GaussianBlur(frame, (0, 0), float(rng.uniform(0.4, 0.25 * reach)))
    angle = rng.uniform(0, np.pi)
    kernel = np.zeros((reach, reach), np.float32)
    middle = reach // 2
    step = (np.array([np.cos(angle), np.sin(angle)]) * middle).round().astype(int)
    cv2.line(kernel, (middle - step[0], middle - step[1]), (middle + step[0], middle + step[1]), 1.0)
    return cv2.filter2D(frame, -1, kernel / kernel.sum())
