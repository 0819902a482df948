"""Match predicted masks with annotations by video and frame, and read masks for scoring."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from ..config import DataConfig
from ..errors import UsageError, VideoError
from ..io.images import TooManyPixels, UnreadableImage, header_of, open_image, upright
from ..io.listing import counted, name_some, natural_key

MAX_PIXELS = DataConfig.max_pixels  # per mask; larger images are refused before memory is allocated
RESOLUTIONS = ("480p", "Full-Resolution", "1080p")  # resolution folders of DAVIS; the first existing one is used
LABEL_MODES = ("P", "L", "1")  # Pillow modes with one integer of at most 8 bits per pixel


@dataclass(frozen=True)
class VideoPair:
    """The mask files of one video, by frame."""

    name: str
    annotations: Mapping[str, Path]  # in order
    predictions: Mapping[str, Path]  # of all annotated frames but perhaps the first and the last, and of others

    @property
    def unannotated(self) -> int:
        """Number of predicted frames without an annotation."""
        return len(self.predictions.keys() - self.annotations.keys())


@dataclass
class Pairing:
    """The videos of two folders of masks, matched for comparison."""

    predictions: Path  # folder of predicted masks
    annotations: Path
    pairs: list[VideoPair] = field(default_factory=list)  # the videos that can be compared
    problems: dict[str, str] = field(default_factory=dict)  # why other videos cannot be compared, by name
    one_video: str | None = None  # name of the video if the folders contain the masks of one video directly


def pair_folders(predictions: Path, annotations: Path, videos: Sequence[str] | None = None) -> Pairing:
    """Match the masks below two folders by video folder and file stem; a problem with one video is in `problems`.

    Args:
        predictions: Folder of video folders, or the output folder of a run, of which the sub-folder `masks` is used.
            May also contain the masks of one video directly.
        annotations: The same, or the root folder of a data set.
        videos: Names of the videos to score, in this order; None scores all that are annotated or predicted.

    Raises:
        UsageError: A folder is missing or contains no masks, only one of them is the folder of a single video, or a
            name of `videos` is in neither folder.
    """
    annotations = annotations_folder(existing(annotations, "annotations"))
    if (annotations / "masks").is_dir() and not mask_names(annotations / "masks"):
        annotations = annotations / "masks"
    annotated = video_folders(annotations, "annotations")
    predictions = existing(predictions, "predictions")
    if (predictions / "masks").is_dir() and "masks" not in annotated:
        predictions = predictions / "masks"
    predicted = video_folders(predictions, "predictions")
    pairing = Pairing(predictions, annotations)
    is_single = (list(annotated.values()) == [annotations], list(predicted.values()) == [predictions])
    if all(is_single):  # the names of the two folders may differ
        predicted = {annotations.name: predictions}
        pairing.one_video = annotations.name
    elif any(is_single):
        key, many = ("predictions", predicted) if is_single[0] else ("annotations", annotated)
        raise UsageError(
            f"{key} holds {counted(len(many), 'video folder')} ({name_some(sorted(many, key=natural_key))}), the other "
            f"folder the masks of one video: give {key}=<the folder of that video>"
        )
    there = sorted(annotated.keys() | predicted.keys(), key=natural_key)
    if unknown := [name for name in videos or () if name not in there]:
        raise UsageError(
            f"videos: neither {annotations} nor {predictions} has a folder {name_some(unknown)}; there "
            f"{'is' if len(there) == 1 else 'are'} {name_some(there)}"
        )
    found = [name for name in there if name in annotated or mask_names(predicted[name])]
    for name in found if videos is None else videos:
        if name not in annotated:
            pairing.problems[name] = f"no annotations: there is no folder {name} with masks in {annotations}"
        elif name not in predicted:
            pairing.problems[name] = f"no predictions: there is no folder {name} in {predictions}"
        else:
            pair_video(pairing, name, annotated[name], predicted[name])
    return pairing


def pair_video(pairing: Pairing, name: str, annotated: Path, predicted: Path) -> None:
    """Add one video to `pairing.pairs`, or to `pairing.problems` if frames are missing or ambiguous."""
    try:
        annotations, predictions = mask_files(annotated), mask_files(predicted)
    except VideoError as error:
        pairing.problems[name] = str(error)
        return
    frames = sorted(annotations, key=natural_key)
    missing = [frame for frame in frames[1:-1] if frame not in predictions]
    if len(frames) < 3:
        pairing.problems[name] = (
            f"{counted(len(frames), 'annotated frame')} in {annotated}; at least 3 are needed, since the first "
            "and the last are not scored"
        )
    elif missing:
        present = name_some(sorted(predictions, key=natural_key)) if predictions else "no PNG files at all"
        pairing.problems[name] = (
            f"{len(missing)} of {counted(len(frames) - 2, 'prediction')} missing in {predicted}: {name_some(missing)} "
            f"(found {present})"
        )
    else:
        pairing.pairs.append(VideoPair(name, {frame: annotations[frame] for frame in frames}, predictions))


def existing(folder: Path, key: str) -> Path:
    """Return `folder`. Raises UsageError if it is not a folder; key: the setting that names it."""
    if not folder.is_dir():
        raise UsageError(f"{key}={folder} " + ("is a file, not a folder" if folder.exists() else "does not exist"))
    return folder


def annotations_folder(root: Path) -> Path:
    """Return the folder of annotations below the root of a data set (DAVIS with or without `trainval`), or `root`."""
    for levels in (("trainval/Annotations", "Annotations"), RESOLUTIONS):
        root = next((root / level for level in levels if (root / level).is_dir()), root)
    return root


def video_folders(root: Path, key: str) -> dict[str, Path]:
    """Return the folder of each video by name: the sub-folders of `root`, or `root` itself if it contains masks.

    Raises UsageError if `root` contains both or neither; key: the setting that names it.
    """
    subfolders = {path.name: path for path in root.iterdir() if path.is_dir() and not path.name.startswith(".")}
    with_masks = {name: path for name, path in subfolders.items() if mask_names(path)}
    if mask_names(root):
        if with_masks:
            raise UsageError(f"{key}={root} holds masks and folders of masks; which are meant? Give one of them")
        return {root.name: root}
    if videos := subfolders if key == "predictions" else with_masks:
        return videos
    if runs := sorted((name for name, path in subfolders.items() if (path / "masks").is_dir()), key=natural_key):
        raise UsageError(
            f"{key}={root} has no masks of its own, but the output of {counted(len(runs), 'run')} ({name_some(runs)}): "
            f"give the folder of one run, {key}={root / runs[0]}"
        )
    others = sorted({path.suffix for path in root.rglob("*") if path.is_file() and path.suffix})[:3]
    contents = f"found {', '.join(others)} files only" if others else "it is empty"
    raise UsageError(f"{key}={root} has no PNG masks, neither directly nor in video folders; {contents}")


def mask_files(folder: Path) -> dict[str, Path]:
    """Return the mask files of a folder by stem. Raises VideoError if two files share a stem."""
    files: dict[str, Path] = {}
    for path in mask_names(folder):
        if path.stem in files:
            raise VideoError(f"two files for frame {path.stem} in {folder}: {files[path.stem].name}, {path.name}")
        files[path.stem] = path
    return files


def mask_names(folder: Path) -> list[Path]:
    """Return the PNG files of a folder, sorted, without hidden ones like the `._` files that macOS creates.

    The chart of a scoring report (`scores.png` beside `scores.json`) is not a mask.
    """
    files = (path for path in folder.iterdir() if path.suffix.lower() == ".png" and not path.name.startswith("."))
    has_report = (folder / "scores.json").is_file()
    return sorted(path for path in files if not (has_report and path.name == "scores.png"))


def read_ids(path: Path) -> np.ndarray:
    """Read the (H, W) uint8 object ids of a mask file: palette indices, grey values, or 0 and 1.

    Raises VideoError, if possible before the file is decoded.
    """
    try:
        with open_image(path, MAX_PIXELS) as image:
            if image.mode not in LABEL_MODES:
                raise VideoError(
                    f"{path} has pixels of kind {image.mode}, but masks hold one 8 bit label per pixel "
                    f"({', '.join(LABEL_MODES)}): save it as a palette or 8 bit grey PNG"
                )
            return np.asarray(upright(image, header_of(image)), dtype=np.uint8)
    except TooManyPixels as error:
        raise VideoError(f"{path} declares more than {MAX_PIXELS:,} pixels: refused") from error
    except UnreadableImage as error:
        raise VideoError(f"{path} {error}") from error
