"""Score a network on clips with masks, through the public interface of inference."""

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image
from torch import nn

from ...config import DataConfig, MemoryConfig, RuntimeConfig, require
from ...errors import UsageError
from ...predictor import Segmenter
from ...scoring.pairing import annotations_folder
from ...scoring.score_video import score_video
from ...scoring.scores import VideoScore

Track = Callable[["Clip"], Sequence[np.ndarray]]

MIN_FRAMES = 3  # of a clip, because its first and its last frame are not scored


@dataclass(frozen=True)
class Clip:
    """Pictures and masks of a clip, one of each per frame, in order."""

    name: str
    pictures: tuple[Path, ...]
    masks: tuple[Path, ...]

    def images(self) -> list[np.ndarray]:
        """Load the pictures: (H, W, 3) uint8 RGB each."""
        return [np.array(Image.open(path).convert("RGB")) for path in self.pictures]

    def labels(self) -> list[np.ndarray]:
        """Load the masks: (H, W) uint8 each, 0 = background."""
        return [np.array(Image.open(path)) for path in self.masks]


def check_frames(frames: int) -> None:
    """Raise UsageError if none of so many frames of a clip would be scored."""
    require(frames >= MIN_FRAMES, "frames", frames, f"at least {MIN_FRAMES}: the first and the last are not scored")


def find_clips(root: Path, names: list[str] | None = None, frames: int | None = None) -> list[Clip]:
    """Find clips by name (None: all) in a folder in DAVIS layout. frames: at most this many of each clip (None: all).

    Raises UsageError if there are none with at least MIN_FRAMES frames, or `frames` is less.
    """
    if frames is not None:
        check_frames(frames)
    masks = annotations_folder(root)
    pictures = Path(*("JPEGImages" if part == "Annotations" else part for part in masks.parts))
    clips = []
    for folder in sorted(path for path in masks.glob("*/") if names is None or path.name in names):
        by_stem = {path.stem: path for path in (pictures / folder.name).glob("*.*")}
        paths = [path for path in sorted(folder.glob("*.png")) if path.stem in by_stem][:frames]
        if len(paths) >= MIN_FRAMES:
            clips.append(Clip(folder.name, tuple(by_stem[path.stem] for path in paths), tuple(paths)))
    if not clips:
        raise UsageError(f"{root}: no clips {names or 'at all'} with pictures in JPEGImages/ and masks in Annotations/")
    return clips


def tracker(network: nn.Module, size: int, runtime: RuntimeConfig, memory: MemoryConfig) -> Track:
    """Return a function that segments a clip from its first mask with a copy of the network; size: short side in px."""
    segmenter = Segmenter(copy.deepcopy(network), memory, runtime, DataConfig(size=size))
    return lambda clip: [result.mask for result in segmenter.segment(clip.images(), clip.labels()[0])]


def score(clip: Clip, track: Track) -> VideoScore:
    """Score a method on a clip with the project's own scorer."""
    return score_video(track(clip), clip.labels(), name=clip.name)
