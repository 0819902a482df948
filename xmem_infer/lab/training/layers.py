"""Moving layers of synthetic clips: objects cut out of photos and clips, and synthetic occluders, as RGBA images."""

from dataclasses import dataclass

import cv2
import numpy as np

from .motion import Rng, Track, bounce, make_track, source_map, warp
from .pack import PERSON_SETS, Pack, Region


@dataclass
class Layer:
    """Something that moves over the background."""

    sources: list[np.ndarray]  # T images or 1 image (H, W, 4) uint8, RGBA
    track: Track
    label: int  # its value in the masks, 0 if it is not an object to track
    shown: np.ndarray  # (T,) bool, the frames in which it is drawn

    def draw(self, canvas: np.ndarray, labels: np.ndarray, frame: int) -> None:
        """Composite the layer onto canvas (S, S, 3) and labels (S, S), both uint8, in place."""
        if not self.shown[frame]:
            return
        source = self.sources[frame if len(self.sources) > 1 else 0]
        height, width = source.shape[:2]
        unit = np.sqrt(height * width) / 2
        coordinates = source_map(self.track, frame, canvas.shape[0], ((width - 1) / 2, (height - 1) / 2), unit)
        layer = warp(source, coordinates, outside_zero=True)
        alpha = layer[..., 3]
        rows, columns = np.flatnonzero(alpha.any(1)), np.flatnonzero(alpha.any(0))
        if rows.size == 0:
            return
        box = np.s_[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
        weight = alpha[box][..., None].astype(np.uint16)
        canvas[box] = (layer[box][..., :3] * weight + canvas[box] * (255 - weight) + 127) // 255
        labels[box][alpha[box] > 127] = self.label


def cutout(pack: Pack, rng: Rng) -> np.ndarray:
    """Return a random object or region of a photo, cropped to its box, as (H, W, 4) uint8 RGBA."""
    while True:
        index = pack.photos[rng.integers(len(pack.photos))]
        picture = pack.pictures[index]
        # Regions cut off by the edges of the picture have straight sides; people are rarely cut off.
        regions = [r for r in picture.regions if r.borders <= 1 or picture.source in PERSON_SETS]
        if regions:
            return _cut(pack, index, regions[rng.integers(len(regions))])


def clip_cutouts(pack: Pack, rng: Rng, frames: int) -> list[np.ndarray]:
    """Return the object of a random clip in T frames, each (H, W, 4) of the same size, centred on the object.

    If no frame of the clip has an object, return one cut-out of a photo.
    """
    names = list(pack.clips)
    clip = pack.clips[names[rng.integers(len(names))]]
    chosen = [i for i in pick_frames(rng, clip, frames) if pack.pictures[i].regions]
    if not chosen:
        return [cutout(pack, rng)]
    chosen = (chosen + chosen[-1:] * frames)[:frames]
    parts = [_cut(pack, i, pack.pictures[i].regions[0]) for i in chosen]
    height, width = (max(part.shape[axis] for part in parts) for axis in (0, 1))
    sources = []
    for part in parts:
        rows, columns = height - part.shape[0], width - part.shape[1]
        border = (rows // 2, rows - rows // 2), (columns // 2, columns - columns // 2), (0, 0)
        sources.append(np.pad(part, border))
    return sources


def pick_frames(rng: Rng, clip: list[int], frames: int) -> list[int]:
    """Return T pictures of a clip, in time order or reversed, 1 to 8 apart (less if the clip is short)."""
    max_gap = max(1, min(8, (len(clip) - 1) // (frames - 1)))
    gaps = rng.integers(1, rng.integers(1, max_gap + 1) + 1, frames - 1)
    start = rng.integers(0, max(1, len(clip) - gaps.sum()))
    chosen = [clip[i] for i in np.minimum(start + np.concatenate([[0], gaps.cumsum()]), len(clip) - 1)]
    return chosen[::-1] if rng.random() < 0.5 else chosen


def object_layer(rng: Rng, sources: list[np.ndarray], frames: int, label: int, pace: float) -> Layer:
    """Give a cut-out a random size, position and motion."""
    centre = rng.uniform(-0.6, 0.6, 2)
    scale = np.exp(rng.uniform(np.log(0.16), np.log(0.85)))
    track = make_track(rng, frames, centre, scale, pace, float(rng.uniform(0, 1.6)))
    if rng.random() < 0.85:
        track.centre = bounce(track.centre, 0.85)
    shown = np.ones(frames, bool)
    if rng.random() < 0.12:  # hides for a frame or two
        hidden = rng.integers(1, frames)
        shown[hidden : hidden + int(rng.integers(1, 3))] = False
    if rng.random() < 0.5:
        sources = [np.ascontiguousarray(source[:, ::-1]) for source in sources]
    return Layer(sources, track, label, shown)


def look_alike(rng: Rng, layer: Layer, frames: int, label: int, pace: float) -> Layer:
    """Return a layer with the image of another one and a motion of its own, as a distractor."""
    copy = object_layer(rng, layer.sources, frames, label, pace)
    copy.track.scale = layer.track.scale * np.exp(rng.normal(0, 0.15))
    return copy


def occluder(pack: Pack, rng: Rng, frames: int, pace: float) -> Layer:
    """Return a bar, block, blob or foliage that passes by, with hard edges and one colour or the texture of a photo."""
    kind = rng.integers(5)
    size = 96 if kind < 3 else 192
    alpha = np.zeros((size, size), np.uint8)
    if kind == 0:  # a pole, long and thin
        half = int(rng.integers(2, 12))
        alpha[:, size // 2 - half : size // 2 + half] = 255
    elif kind == 1:
        alpha[:] = 255
    else:
        corners = (rng.uniform(0.1, 0.9, (int(rng.integers(3, 8)), 2)) * size).astype(np.int32)
        cv2.fillPoly(alpha, [cv2.convexHull(corners)], 255)
        if kind > 2:  # foliage
            alpha[_gaps(rng, size)] = 0
    texture = np.empty((size, size, 3), np.uint8)
    if rng.random() < 0.3:
        texture[:] = rng.integers(0, 256, 3)
    else:
        image = pack.image(pack.photos[rng.integers(len(pack.photos))])
        side = min(size, *image.shape[:2])
        top, left = (rng.integers(0, length - side + 1) for length in image.shape[:2])
        texture[:] = cv2.resize(image[top : top + side, left : left + side], (size, size))
    layer = object_layer(rng, [np.dstack([texture, alpha])], frames, 0, pace)
    if kind == 0:
        layer.track.scale = np.full(frames, rng.uniform(1.0, 2.2))
    elif kind > 2:
        layer.track.scale = np.full(frames, rng.uniform(0.4, 1.3))
    layer.track.bend = layer.track.bend * 0.2
    return layer


def _gaps(rng: Rng, size: int) -> np.ndarray:
    """Return the gaps of foliage as (size, size) bool: a third to two thirds of the square, a few pixels wide."""
    noise = rng.standard_normal((size, size)).astype(np.float32)
    grain = float(rng.uniform(0.8, 4.0))
    smooth = cv2.GaussianBlur(noise, (0, 0), grain, sigmaY=grain * float(np.exp(rng.normal(0, 0.4))))
    return smooth > np.quantile(smooth, rng.uniform(0.35, 0.65))


def add_sticks(rng: Rng, source: np.ndarray) -> np.ndarray:
    """Add thin limbs to a cut-out as part of the object: lines in one of its own colours or a random one."""
    reach = int(0.3 * max(source.shape[:2]))
    out = cv2.copyMakeBorder(source, reach, reach, reach, reach, cv2.BORDER_CONSTANT)
    rows, columns = np.nonzero(out[..., 3] > 127)
    if rows.size == 0:
        return source
    for _ in range(int(rng.integers(1, 4))):
        root = rng.integers(rows.size)
        start = np.array([columns[root], rows[root]])
        end = start + (rng.normal(0, 1, 2) * reach * 1.2).astype(int)
        colour = out[rows[root], columns[root], :3] if rng.random() < 0.5 else rng.integers(0, 256, 3)
        thickness = max(1, int(rng.uniform(0.015, 0.06) * max(source.shape[:2])))
        cv2.line(out, start.tolist(), end.tolist(), (*(int(c) for c in colour), 255), thickness)
    return out


def _cut(pack: Pack, index: int, region: Region) -> np.ndarray:
    top, left, bottom, right = region.box
    alpha = (pack.labels(index)[top:bottom, left:right] == region.label).astype(np.uint8) * 255
    return np.dstack([pack.image(index)[top:bottom, left:right], alpha])
