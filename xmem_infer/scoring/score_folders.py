"""What `scripts/score.py` does: score two folders, show the table, write the report."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

from ..config import require
from ..errors import UsageError
from ..io.atomic import disk_fault
from .folders import score_pairing
from .pairing import Pairing, existing, pair_folders
from .parallel import in_parallel, usable_cores
from .score_chart import draw_chart
from .score_report import notes, table, write_csv, write_scores
from .score_sheets import draw_sheet, sheet_jobs
from .score_types import Rules, SetScores

Say = Callable[[str], object]


@dataclass
class ScoreConfig:
    predictions: str | None = None
    annotations: str | None = None
    output_dir: str | None = None  # None: beside the predictions
    images: str | None = None  # frames behind the worst-frame sheets; None: JPEGImages beside Annotations
    videos: str | None = None  # text file with a name per line; None: all
    rules: Rules = Rules.auto
    workers: int | None = None  # processes; None: one per core
    worst_frames: int = 8  # per video; 0: no sheets

    def __post_init__(self) -> None:
        require(self.workers is None or self.workers >= 1, "workers", self.workers, "null or at least 1")
        require(self.worst_frames >= 0, "worst_frames", self.worst_frames, "0 (no sheets) or more")


def score(config: ScoreConfig, show: Say, say: Say) -> int:
    """Score, write and show; returns 0, or 1 where some videos could not be scored.

    show: takes the table; say: takes what went wrong and where the files are. Raises UsageError for a wrong
    request, EnvironmentFault where the output cannot be written.
    """
    predictions, annotations = folder(config.predictions, "predictions"), folder(config.annotations, "annotations")
    images = None if config.images is None else folder(config.images, "images")
    pairing = pair_folders(predictions, annotations, read_names(config.videos))
    output_dir = output_folder(config.output_dir, pairing)
    workers = config.workers or usable_cores()
    scores = score_pairing(pairing, config.rules, workers, progress=True)
    remarks = write_report(scores, output_dir, images, config.worst_frames, workers)
    if scores.videos:
        show(table(scores))
    for name, problem in scores.problems.items():
        say(f"not scored: {name}: {problem}")
    for remark in remarks:
        say(f"note: {remark}")
    if scores.problems and config.videos is None:
        say("note: to score some videos only, name them in a text file: videos=ImageSets/2017/val.txt")
    say(f"written to {output_dir}: scores.csv, scores.json and pictures")
    return 1 if scores.problems else 0


def write_report(
    scores: SetScores, output_dir: Path, images: Path | None = None, worst_frames: int = 8, workers: int = 1
) -> list[str]:
    """Write scores.csv, scores.png, scores.svg, worst/<video>.png and, last, scores.json below `output_dir`.

    images: the videos' frames for the sheets; None: JPEGImages beside Annotations. Returns remarks for the
    reader. Pictures of an older run that this one does not replace are removed, so that all files agree.
    Raises EnvironmentFault.
    """
    remarks = notes(scores)
    sheets, charts = output_dir / "worst", [output_dir / "scores.png", output_dir / "scores.svg"]
    stale = {sheets / f"{name}.png" for name in (*scores.pairs, *scores.problems)} | set(charts)
    if worst_frames:
        jobs = sheet_jobs(scores, worst_frames, images, sheets)
        with tqdm(total=len(jobs), desc="worst frames", unit="video", disable=None) as bar:
            for job, _ in in_parallel(draw_sheet, jobs, workers):
                stale.discard(job.path)
                bar.update()
    if scores.videos:
        try:
            draw_chart(scores, charts)
            stale -= set(charts)
        except ImportError:
            remarks.append("no bar chart: it needs matplotlib (`pip install matplotlib`, or the extra `plot`)")
    remove_all(stale)
    write_csv(scores, output_dir / "scores.csv")
    write_scores(scores, output_dir / "scores.json", worst_frames)
    return remarks


def remove_all(paths: Iterable[Path]) -> None:
    """Delete files that may be there. Raises EnvironmentFault where the disk refuses."""
    for path in paths:
        try:
            path.unlink(missing_ok=True)
        except OSError as error:
            raise disk_fault(error, path) from error


def folder(given: str | None, key: str) -> Path:
    """The folder a setting names; UsageError where it is not given or is none."""
    if given is None:
        raise UsageError(f"{key} is not given: python scripts/score.py predictions=FOLDER annotations=FOLDER")
    return existing(Path(given).expanduser(), key)


def read_names(list_file: str | None) -> list[str] | None:
    """Names of videos, one per line of a text file such as ImageSets/2017/val.txt; None for None."""
    if list_file is None:
        return None
    try:
        lines = Path(list_file).expanduser().read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"videos={list_file} cannot be read ({error}); give a text file, a name per line") from error
    names = list(dict.fromkeys(line.strip() for line in lines if line.strip()))
    if not names:
        raise UsageError(f"videos={list_file} is empty; give a text file with a name per line")
    return names


def output_folder(given: str | None, pairing: Pairing) -> Path:
    """Where the report goes: `given`, else beside the predictions; for one video's masks output/<video>.

    Not among the masks, where the next run would take the report's pictures for a video.
    """
    if given is None:
        return Path("output") / pairing.one_video if pairing.one_video else pairing.predictions.parent
    output_dir = Path(given).expanduser()
    if output_dir.resolve() in (pairing.predictions.resolve(), pairing.annotations.resolve()):
        raise UsageError(f"output_dir={given} is the folder of masks itself; give another one for the report")
    return output_dir
