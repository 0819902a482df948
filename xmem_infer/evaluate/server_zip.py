"""The submission archive for a benchmark's server: masks are checked, then zipped atomically."""

import logging
import zipfile
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
from tqdm import tqdm

from ..config import DatasetConfig
from ..datasets.video_input import VideoInput
from ..errors import VideoError
from ..io.atomic import disk_fault, remove, write_whole
from ..io.listing import name_some, natural_key
from ..scoring.pairing import mask_files, read_ids
from ..scoring.parallel import in_parallel
from ..scoring.report import all_published
from .jobs import Plan

log = logging.getLogger(__name__)

EPOCH = (1980, 1, 1, 0, 0, 0)  # time stamp of every entry


def write_server_file(dataset: DatasetConfig, plan: Plan, weights: Path, workers: int = 1) -> int:
    """Check the masks of a run and zip them into output_dir/<data set>.zip.

    An archive of an earlier run is removed first, so that it is not uploaded by mistake.

    Args:
        dataset: The benchmark.
        plan: The videos of the run.
        weights: The checkpoint, for the message.
        workers: Number of processes that check masks.

    Returns:
        Exit code: 0, or 1 if masks are missing or invalid.

    Raises:
        EnvironmentFault: The archive cannot be written.
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
    problems = check_masks(masks, plan.videos, workers)
    for problem in problems:
        log.info(f"not fit for the server: {problem}")
    if problems:
        return 1
    # In natural order and with a constant time stamp, so that equal masks give equal archives.
    prefix = f"{dataset.zip_root}/" if dataset.zip_root else ""
    entries = {
        f"{prefix}{video.name}/{frame}.png": mask
        for video in sorted(plan.videos, key=lambda video: natural_key(video.name))
        for frame, mask in sorted(mask_files(masks / video.name).items())
    }
    write_whole(path, partial(write_zip, entries=entries))
    log.info(f"checked and packed: {len(entries)} masks of {videos} videos in {path}")
    log.info(f"upload it to {dataset.server}")
    if dataset.published:
        log.info(f"published for {dataset.title}: {all_published(dataset)}; the weights here are {weights.stem}")
    return 0


def check_masks(masks: Path, videos: Sequence[VideoInput], workers: int) -> list[str]:
    """Read all masks and return one line for each video that has a problem."""
    videos = sorted(videos, key=lambda video: natural_key(video.name))
    found = []
    with tqdm(total=sum(video.saved_count or 0 for video in videos), desc="checking", unit="mask", disable=None) as bar:
        problems = in_parallel(partial(check_video, masks), videos, workers)
        for video, problem in zip(videos, problems, strict=True):
            bar.update(video.saved_count or 0)
            if problem is not None:
                found.append(problem)
    return found


def check_video(masks: Path, video: VideoInput) -> str | None:
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
                (height, width), (rows, columns) = video.frames.size, labels.shape
                return f"{path} is {columns}x{rows}, the video is {width}x{height}"
            foreign = set(np.unique(labels).tolist()) - video.object_ids - {0}
            if foreign:
                return f"{path} shows labels {sorted(foreign)}, the masks given have {sorted(video.object_ids)}"
    except VideoError as error:
        return f"{video.name}: {error}"
    return None


def write_zip(path: Path, entries: dict[str, Path]) -> None:
    """Write an archive of these files, uncompressed because PNG files are compressed already."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for name, file in entries.items():
            archive.writestr(zipfile.ZipInfo(name, EPOCH), file.read_bytes())
