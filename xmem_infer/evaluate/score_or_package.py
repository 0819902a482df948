"""Scoring against annotations after a run, or packing of masks for a benchmark server."""

import logging
from pathlib import Path

from ..config import EvalConfig
from ..runtime.cores import usable_cores
from ..scoring.pairing import Pairing, pair_video
from ..scoring.report import compare_with_published, describe_comparison, write_report
from ..scoring.score_folders import score_pairing
from ..scoring.scores import Rules
from .jobs import Plan
from .server_zip import write_server_file

log = logging.getLogger(__name__)
tables = logging.getLogger("xmem_infer.tables")  # printed to standard output

WORTH_PROCESSES = 300  # frames; fewer are scored faster than processes start


def score_or_package(config: EvalConfig, plan: Plan, weights: Path) -> int:
    """Score the masks of a run if there are annotations, or pack them for the benchmark's server.

    Returns:
        Exit code: 0, or 1 if masks are missing or unfit.

    Raises:
        EnvironmentFault: The output folder cannot be written to.
    """
    if not config.output.masks:
        return 0
    frames = sum(video.saved_count or 0 for video in plan.videos)
    workers = usable_cores() if frames >= WORTH_PROCESSES else 1
    code = _score(config, plan, weights, workers) if config.score else 0
    if config.dataset is not None and config.dataset.zip_root is not None:
        code = max(code, write_server_file(config.dataset, plan, weights, workers))
    return code


def _score(config: EvalConfig, plan: Plan, weights: Path, workers: int) -> int:
    pairing = _pairing(plan)
    if not pairing.pairs and not pairing.problems:
        return 0
    rules = Rules.auto if config.dataset is None else Rules[config.dataset.rules]
    scores = score_pairing(pairing, rules, workers, config.metrics)
    dataset = config.dataset
    published = None if dataset is None else compare_with_published(dataset, weights, scores)
    write_report(scores, plan.output_dir, workers=workers, published=published)
    if dataset is not None and (line := describe_comparison(dataset, weights, scores)) is not None:
        tables.info(line)
    log.info(f"scores in {plan.output_dir}: scores.csv, scores.json, pictures")
    return 1 if scores.problems else 0


def _pairing(plan: Plan) -> Pairing:
    """Pair the masks of a run with annotations. If any video has annotations, failed videos count as problems."""
    masks = plan.output_dir / "masks"
    truths = {video.name: video.truth for video in plan.videos if video.truth is not None}
    pairing = Pairing(masks, next(iter(truths.values())).parent if truths else masks)
    for name, truth in truths.items():
        if name in plan.failures:
            continue
        pair_video(pairing, name, truth, masks / name)
    if truths:
        for name, error in plan.failures.items():
            pairing.problems[name] = f"it was not segmented: {error}"
    return pairing
