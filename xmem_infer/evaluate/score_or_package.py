"""After a run: score its masks against annotations, and check and pack them for a benchmark's server."""

import logging
import zipfile
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
from tqdm import tqdm

from ..config import DatasetConfig, EvalConfig
from ..datasets.video_input import VideoInput
from ..errors import VideoError
from ..io.atomic import disk_fault, remove, write_whole
from ..io.images import size_words
from ..io.listing import name_some, natural_key
from ..runtime.cores import usable_cores
from ..scoring.pairing import Pairing, mask_files, pair_video, read_ids
from ..scoring.parallel import in_parallel
from ..scoring.report import all_published, compare_with_published, describe_comparison, write_report
from ..scoring.score_folders import score_pairing
from .jobs import Plan

log = logging.getLogger(__name__)
tables = logging.getLogger("xmem_infer.tables")  # printed to standard output

WORTH_PROCESSES = 300  # frames; fewer are scored faster than processes start
EPOCH = (1980, 1, 1, 0, 0, 0)  # time stamp of every entry of a zip file


def score_or_package(config: EvalConfig, plan: Plan, weights: Path) -> int:
    """Score the masks of a run if there are annotations, or pack them for the benchmark's server.

    Returns the exit code: 0, or 1 if masks are missing or unfit. Raises EnvironmentFault if the disk fails.
    """
    if not config.output.masks:
        return 0
    frames = sum(video.saved_count or 0 for video in plan.videos)
    workers = usable_cores() if frames >= WORTH_PROCESSES else 1
    code = _score(config, plan, weights, workers) if config.score else 0
    if config.dataset is not None and config.dataset.zip_root is not None:
        code = max(code, _package(config.dataset, plan, weights, workers))
    return code


def _score(config: EvalConfig, plan: Plan, weights: Path, workers: int) -> int:
    """Score the videos with annotations; if there are any, videos that failed count as problems."""
    masks = plan.output_dir / "masks"
    truths = {video.name: video.truth for video in plan.videos if video.truth is not None}
    if not truths:
        return 0
    problems = {name: f"it was not segmented: {error}" for name, error in plan.failures.items()}
    pairing = Pairing(masks, next(iter(truths.values())).parent, problems=problems)
    for name, truth in truths.items():
        if name not in plan.failures:
            pair_video(pairing, name, truth, masks / name)
    dataset = config.dataset
    rules = "auto" if dataset is None else dataset.rules
    scores = score_pairing(pairing, rules, workers, config.metrics)
    published = None if dataset is None else compare_with_published(dataset, weights, scores)
    write_report(scores, plan.output_dir, workers=workers, published=published)
    if dataset is not None and (line := describe_comparison(dataset, weights, scores)) is not None:
        tables.info(line)
    log.info(f"scores in {plan.output_dir}: scores.csv, scores.json, pictures")
    return 1 if scores.problems else 0


def _package(dataset: DatasetConfig, plan: Plan, weights: Path, workers: int) -> int:
    """Check the masks of a run and zip them into output_dir/<data set>.zip.

    An archive of an earlier run is removed first, so that it is not uploaded by mistake.
    """
    path = plan.output_dir / f"{dataset.name}.zip"
    try:
        remove(path)
    except OSError as error:
        raise disk_fault(error, path) from error
    if plan.failures:
        log.info(f"no file for the server: {len(plan.failures)} videos failed ({name_some(list(plan.failures))})")
        return 1
    videos = len(plan.videos)
    if videos not in dataset.videos:
        wanted = " or ".join(map(str, dataset.videos))
        log.info(f"no file for the server: {videos} videos here, {dataset.title} has {wanted}, and it takes all")
        return 0
    masks = plan.output_dir / "masks"
    in_order = sorted(plan.videos, key=lambda video: natural_key(video.name))
    if problems := check_masks(masks, in_order, workers):
        for problem in problems:
            log.info(f"not fit for the server: {problem}")
        return 1
    # In natural order and with a constant time stamp, so that equal masks give equal archives.
    prefix = f"{dataset.zip_root}/" if dataset.zip_root else ""
    entries = {
        f"{prefix}{video.name}/{frame}.png": mask
        for video in in_order
        for frame, mask in sorted(mask_files(masks / video.name).items())
    }
    write_whole(path, partial(_write_zip, entries=entries))
    log.info(f"checked and packed: {len(entries)} masks of {videos} videos in {path}")
    log.info(f"upload it to {dataset.server}")
    if dataset.published:
        log.info(f"published for {dataset.title}: {all_published(dataset)}; the weights here are {weights.stem}")
    return 0


def check_masks(masks: Path, videos: Sequence[VideoInput], workers: int) -> list[str]:
    """Read all masks and return one line for each video that has a problem."""
    problems = in_parallel(partial(_check_video, masks), videos, workers)
    return [line for line in tqdm(problems, "checking", len(videos), unit="video", disable=None) if line is not None]


def _check_video(masks: Path, video: VideoInput) -> str | None:
    """Return what is wrong with the masks of one video (missing or extra files, size, labels), or None."""
    folder = masks / video.name
    if not folder.is_dir():
        return f"{video.name}: there is no folder {folder}"
    wanted = frozenset(video.frames.stems or []) if video.saved is None else video.saved
    try:
        files = mask_files(folder)
        missing, extra = sorted(wanted - files.keys()), sorted(files.keys() - wanted)
        if missing:
            return f"{video.name}: {len(missing)} of {len(wanted)} masks missing in {folder}: {name_some(missing)}"
        if extra:
            return f"{video.name}: {len(extra)} masks too many in {folder}: {name_some(extra)}"
        for path in files.values():
            labels = read_ids(path)
            if labels.shape != video.frames.size:
                return f"{path} is {size_words(labels.shape)}, the video is {size_words(video.frames.size)}"
            if foreign := set(np.unique(labels).tolist()) - video.object_ids - {0}:
                return f"{path} shows labels {sorted(foreign)}, the masks given have {sorted(video.object_ids)}"
    except VideoError as error:
        return f"{video.name}: {error}"
    return None


def _write_zip(path: Path, entries: dict[str, Path]) -> None:
    """Write an archive of these files, uncompressed because PNG files are compressed already."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for name, file in entries.items():
            archive.writestr(zipfile.ZipInfo(name, EPOCH), file.read_bytes())
