"""Test-time augmentation: which passes a run makes over each video. `Segmenter.segment_passes` carries them out."""

from ..config import EvalConfig
from ..datasets.layouts import DAVIS_SIZE
from ..datasets.video_input import VideoInput
from ..predictor import Pass


def working_sizes(config: EvalConfig) -> list[int]:
    """The sizes inside the network (px of the short side) that a run uses."""
    return config.tta.sizes or [config.data.size]


def passes_of(video: VideoInput, config: EvalConfig) -> list[Pass]:
    """The passes that a run makes over a video, plain ones first; a plain run is one pass."""
    flips = [False, True] if config.tta.flip else [config.tta.only_flipped]
    passes = []
    for flipped in flips:
        for size in working_sizes(config):
            full = video.full_resolution if size != DAVIS_SIZE else None
            seen = full or video
            passes.append(Pass(seen.frames, seen.masks, size, flipped))
    return passes
