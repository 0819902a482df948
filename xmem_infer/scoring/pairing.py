"""Which mask files are compared with which: finding the folders, matching videos and frames, reading masks."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from ..config import DataConfig
from ..errors import UsageError, VideoError
from ..io.images import TooManyPixels, UnreadableImage, header_of, opened, upright
from ..io.listing import counted, name_some, natural_key

MAX_PIXELS = DataConfig.max_pixels  # per mask; larger headers are refused before allocation
RESOLUTIONS = ("480p", "Full-Resolution", "1080p")  # levels of a DAVIS tree, the scored one first
LABEL_MODES = ("P", "L", "1")  # of Pillow: one small integer per pixel


@dataclass(frozen=True)
class VideoPair:
    """One video's files: annotated frames in order, and the prediction of each (None: not there).

    unannotated: how many predicted frames have no annotation.
    """

    name: str
    frames: tuple[str, ...]
    annotations: tuple[Path, ...]
    predictions: tuple[Path | None, ...]
    unannotated: int = 0


@dataclass
class Pairing:
    """Both folders as found, the videos that can be compared, and why the others cannot.

    one_video: its name where the folders hold the masks of one video directly, else None.
    """

    predictions: Path
    annotations: Path
    pairs: list[VideoPair] = field(default_factory=list)
    problems: dict[str, str] = field(default_factory=dict)
    one_video: str | None = None


def pair_folders(predictions: Path, annotations: Path, videos: Sequence[str] | None = None) -> Pairing:
    """Match the masks below two folders by video folder and file stem.

    predictions: folder of video folders, or what `eval.py` wrote (its `masks` is taken). annotations: the
    same, or a data set's root. Both may also hold the masks of one video directly. videos: the ones to
    score, in this order; None: all that are annotated or predicted. Raises UsageError where a folder is
    missing or holds no masks, or a name is in neither; anything wrong with one video goes into `problems`.
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
    direct = (list(annotated.values()) == [annotations], list(predicted.values()) == [predictions])
    if all(direct):  # one video, whatever the folders are called
        predicted = {annotations.name: predictions}
        pairing.one_video = annotations.name
    elif any(direct):
        one, many, key = (
            (annotations, predicted, "predictions") if direct[0] else (predictions, annotated, "annotations")
        )
        raise UsageError(
            f"{one} holds the masks of one video, but {key} holds {counted(len(many), 'video folder')} "
            f"({name_some(sorted(many, key=natural_key))}): give {key}=<the folder of that video>"
        )
    there = sorted(annotated.keys() | predicted.keys(), key=natural_key)
    if unknown := [name for name in videos or () if name not in there]:
        raise UsageError(
            f"videos: neither {annotations} nor {predictions} has a folder {name_some(unknown)}; there "
            f"{'is' if len(there) == 1 else 'are'} {name_some(there)}"
        )
    extra = {name for name in predicted.keys() - annotated.keys() if mask_names(predicted[name])}
    for name in sorted(annotated.keys() | extra, key=natural_key) if videos is None else videos:
        if name not in annotated:
            pairing.problems[name] = f"no annotations: there is no folder {name} with masks in {annotations}"
        elif name not in predicted:
            pairing.problems[name] = f"no predictions: there is no folder {name} in {predictions}"
        else:
            pair_video(pairing, name, annotated[name], predicted[name])
    return pairing


def pair_video(pairing: Pairing, name: str, annotated: Path, predicted: Path) -> None:
    """Append one video to the pairs, or to the problems where frames are missing or ambiguous."""
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
        there = name_some(sorted(predictions, key=natural_key)) if predictions else "no PNG files at all"
        pairing.problems[name] = (
            f"{len(missing)} of {counted(len(frames) - 2, 'prediction')} missing in {predicted}: {name_some(missing)} "
            f"(found {there})"
        )
    else:
        unannotated = len(predictions.keys() - annotations.keys())
        files = tuple(annotations[frame] for frame in frames), tuple(predictions.get(frame) for frame in frames)
        pairing.pairs.append(VideoPair(name, tuple(frames), *files, unannotated))


def existing(folder: Path, key: str) -> Path:
    """`folder`, or UsageError where it is none."""
    if not folder.is_dir():
        raise UsageError(f"{key}={folder} " + ("is a file, not a folder" if folder.exists() else "does not exist"))
    return folder


def annotations_folder(root: Path) -> Path:
    """The folder of video folders below a data set's root (DAVIS with or without `trainval`); else `root`."""
    for level in ("trainval", "Annotations"):
        if (root / level / "Annotations").is_dir() or (level == "Annotations" and (root / level).is_dir()):
            root = root / level
    return next((root / level for level in RESOLUTIONS if (root / level).is_dir()), root)


def video_folders(root: Path, key: str) -> dict[str, Path]:
    """Folder of each video by name: the sub-folders, or `root` itself where it holds masks directly."""
    below = {path.name: path for path in root.iterdir() if path.is_dir() and not path.name.startswith(".")}
    direct = any(is_mask(path) for path in root.iterdir())
    holding = {name: path for name, path in below.items() if key == "predictions" or mask_names(path)}
    if holding and not direct:
        return holding
    if direct and not any(mask_names(path) for path in below.values()):
        return {root.name: root}
    if direct:
        raise UsageError(f"{key}={root} holds masks and folders of masks; which are meant? Give one of them")
    others = sorted({path.suffix for path in root.rglob("*") if path.is_file() and path.suffix})[:3]
    found = f"found {', '.join(others)} files only" if others else "it is empty"
    raise UsageError(f"{key}={root} has no PNG masks, neither directly nor in video folders; {found}")


def mask_files(folder: Path) -> dict[str, Path]:
    """Mask file by stem. Raises VideoError where two files share a stem."""
    files: dict[str, Path] = {}
    for path in mask_names(folder):
        if path.stem in files:
            raise VideoError(f"two files for frame {path.stem} in {folder}: {files[path.stem].name}, {path.name}")
        files[path.stem] = path
    return files


def mask_names(folder: Path) -> list[Path]:
    """The PNG files of a folder, sorted."""
    return sorted(path for path in folder.iterdir() if is_mask(path))


def is_mask(path: Path) -> bool:
    """PNG by name, and none of the hidden companions that macOS leaves."""
    return path.suffix.lower() == ".png" and not path.name.startswith(".")


def read_ids(path: Path, size: tuple[int, int] | None = None) -> np.ndarray:
    """(H, W) uint8 object ids of a mask file: palette indices, grey values, or 0 and 1.

    size: (H, W) it must have. Raises VideoError, and before decoding where the header tells.
    """
    try:
        with opened(path, MAX_PIXELS) as image:
            header = header_of(image)
            height, width = header.size
            if image.mode not in LABEL_MODES:
                raise VideoError(
                    f"{path} has pixels of kind {image.mode}, but masks hold one 8 bit label per pixel "
                    f"({', '.join(LABEL_MODES)}): save it as a palette or 8 bit grey PNG"
                )
            if size is not None and size != (height, width):
                raise VideoError(
                    f"the prediction is {width} x {height} px, the annotation {size[1]} x {size[0]}: {path}"
                )
            return np.asarray(upright(image, header), dtype=np.uint8)
    except TooManyPixels as error:
        raise VideoError(f"{path} declares more than {MAX_PIXELS:,} pixels: refused") from error
    except UnreadableImage as error:
        raise VideoError(f"{path} {error}") from error
