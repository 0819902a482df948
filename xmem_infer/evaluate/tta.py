"""One video seen several ways at once: other working sizes, mirrored, at full resolution; merged frame by frame."""

import copy
from collections import Counter
from collections.abc import Generator, Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass, replace
from functools import reduce
from operator import add

import numpy as np
import torch

from ..config import EvalConfig
from ..datasets.later_masks import FlippedMasks, flipped, present
from ..datasets.layouts import DAVIS_SIZE
from ..datasets.video_input import Footage
from ..engine.objects import labels_to_take
from ..io.frames import FrameSource
from ..io.read_ahead import ReadAhead
from ..predictor import Segmenter
from ..results import FrameResult, measure_given, read_labels
from ..runtime.limits import explain_out_of_memory, thread_count
from ..types import Frame, LabelMask
from .jobs import VideoJob, working_sizes


@dataclass(frozen=True)
class View:
    """One pass over a video: which footage, at which working size (short side, px), mirrored or not."""

    footage: Footage
    size: int
    is_flipped: bool

    def source(self) -> FrameSource:
        """The frames of this pass, independent of those of other passes."""
        source = copy.copy(self.footage.source)
        source.warnings = list(source.warnings)
        return FlippedFrames(source) if self.is_flipped else source


class FlippedFrames:
    """A video mirrored left to right."""

    def __init__(self, source: FrameSource):
        self._source = source
        self.name, self.size, self.count, self.fps = source.name, source.size, source.count, source.fps
        self.stems, self.warnings, self.incomplete = source.stems, source.warnings, source.incomplete

    def __iter__(self) -> Iterator[Frame]:
        for frame in self._source:
            yield replace(frame, image=frame.image[:, ::-1].copy())
        self.incomplete = self._source.incomplete


def views_of(job: VideoJob, config: EvalConfig) -> list[View]:
    """The passes that a run makes over a video, plain ones first."""
    flips = [False, True] if config.tta.flip else [config.tta.only_flipped]
    return [View(_footage(job, size), size, flip) for flip in flips for size in working_sizes(config)]


def segment_job(segmenter: Segmenter, job: VideoJob, config: EvalConfig) -> Iterator[FrameResult]:
    """Segment a video in all its passes; results at the size of its own footage, one per frame.

    A single plain pass is `Segmenter.segment` itself. Several go in lock-step, so memory does not grow with
    the video; the mean of their probabilities decides. Masks that were given come back as they are.
    """
    views = views_of(job, config)
    if views == [View(job.footage, segmenter.data.size, is_flipped=False)]:
        return segmenter.segment(job.source, job.first_mask, job.later_masks)
    return _merged(segmenter, job, views)


def _merged(segmenter: Segmenter, job: VideoJob, views: list[View]) -> Iterator[FrameResult]:
    are_flipped = [view.is_flipped for view in views]
    known: list[int] = []
    with ExitStack() as stack:
        # One owner of the thread count: passes that end in another order would restore each other's.
        stack.enter_context(thread_count(segmenter.runtime.threads))
        passes = [stack.enter_context(closing(_pass(segmenter, view))) for view in views]
        frames = stack.enter_context(ReadAhead(job.source))
        for (frame, _), *results in zip(frames, *passes, strict=True):
            with explain_out_of_memory(frame.name), torch.no_grad():
                merged = merge(frame, results, are_flipped, job.footage.given(frame.name, frame.index), known)
            yield merged
            known = list(merged.objects)


def _pass(segmenter: Segmenter, view: View) -> Generator[FrameResult, None, None]:
    own = copy.copy(segmenter)
    own.runtime = replace(segmenter.runtime, threads=None)
    own.data = replace(segmenter.data, size=view.size)
    first, later = view.footage.first, view.footage.later
    if view.is_flipped:
        yield from own.segment(view.source(), flipped(first), FlippedMasks(later))
    else:
        yield from own.segment(view.source(), first, later)


def merge(
    frame: Frame, results: list[FrameResult], are_flipped: list[bool], given: LabelMask | None, known: list[int]
) -> FrameResult:
    """One result from those of several passes over the same frame, at that frame's size.

    given: the mask given for this frame; known: the labels before it. Times are the sums of the passes'.
    """
    size, objects = (frame.image.shape[0], frame.image.shape[1]), list(results[0].objects)
    assert all(list(result.objects) == objects for result in results), "all passes see the same objects"
    upright = (
        result.probability_map(size).flip(-1) if is_flipped else result.probability_map(size)
        for result, is_flipped in zip(results, are_flipped, strict=True)
    )
    mean = reduce(add, upright) / len(results)
    taken = [] if given is None else labels_to_take(known, present(given))
    whole = given if given is not None and set(taken) == set(objects) else None
    if whole is not None:
        labels, confidence = whole.labels, measure_given(mean, objects, whole.labels)
    else:
        labels, confidence = read_labels(mean, objects)
    spent: Counter[str] = Counter()
    for result in results:
        spent.update(result.stage_ms)
    return FrameResult(frame, labels, tuple(objects), confidence, dict(spent), mean, whole is not None)


def saved_scores(result: FrameResult) -> np.ndarray:
    """(O + 1, H, W) to save: probabilities in [0, 1], of a given mask the mask itself."""
    if not result.given:
        return result.probabilities()
    values = np.array([0, *result.objects], np.uint8)
    return (result.labels == values[:, None, None]).astype(np.float32)


def _footage(job: VideoJob, size: int) -> Footage:
    return job.footage if job.large is None or size == DAVIS_SIZE else job.large
