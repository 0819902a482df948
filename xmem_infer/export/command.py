"""The export command: export the masks of every video in a folder to one format."""

import json
import logging
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from PIL import ImageColor
from tqdm import tqdm

from ..config import DataConfig, read_choices, require
from ..errors import UsageError
from ..io.frames import open_frames
from ..io.listing import IMAGE_SUFFIXES, VIDEO_SUFFIXES, describe_contents, natural_key
from ..scoring.pairing import existing, video_folders
from .protocol import EXPORTERS
from .run import Colour, export_masks

log = logging.getLogger(__name__)


@dataclass
class ExportConfig:
    masks: str | None = None  # folder of masks, folder of such folders, output folder of a run, or project
    format: str | None = None  # palette, coco, yolo, cvat, label_studio, cutout_png, prores4444, webm_alpha, ...
    frames: str | None = None  # video or folder of frames, for formats that show them; for several videos their folder
    output_dir: str = "output/export"  # each format gets its own sub-folder
    names: Any = None  # object names by id, {1:cup,2:hand}; null: the names in a project
    objects: list[int] = field(default_factory=list)  # ids of the objects to export; empty: all
    image_name: str = "{frame}.jpg"  # name of a frame's image in the other program, from {frame} and {video}
    fps: float | None = None  # frame rate of videos made from a folder of frames; null: 24
    overwrite: bool = False  # replace a previous export

    def __post_init__(self) -> None:
        read_choices(self)
        require(self.fps is None or 0.1 <= self.fps <= 1000, "fps", self.fps, "null or from 0.1 to 1000")
        require("{frame}" in self.image_name, "image_name", self.image_name, "a name with {frame} in it")


def export(config: ExportConfig) -> int:
    """Export every video, log the path of each result and return the exit code 0.

    Raises UsageError, VideoError or EnvironmentFault, see `export_masks` and `open_frames`.
    """
    if config.masks is None or config.format is None:
        raise UsageError(f"say what and how: xmem-infer export MASKS FORMAT, one of {', '.join(EXPORTERS.names())}")
    EXPORTERS[config.format]
    root = existing(Path(config.masks).expanduser(), "masks")
    names, colours = _project_objects(root)
    names |= _names(config.names)
    folders = video_folders(root / "masks" if (root / "masks").is_dir() else root, "masks")
    for name, folder in sorted(folders.items(), key=lambda entry: natural_key(entry[0])):
        path = None if config.frames is None else _frames_path(Path(config.frames).expanduser(), name, len(folders))
        frames = None if path is None else open_frames(path, DataConfig())
        with tqdm(desc=name, unit="frame", disable=None) as bar:

            def advance(done: int, total: int | None, bar: Any = bar) -> None:
                bar.total = total
                bar.update(done - bar.n)

            result = export_masks(
                config.format, folder, Path(config.output_dir).expanduser(), frames, name=name, names=names,
                source=path if path and path.is_file() else None, colours=colours, objects=config.objects,
                image_name=config.image_name, fps=config.fps, overwrite=config.overwrite, progress=advance,
            )  # fmt: skip
        log.info(f"written to {result}")
    return 0


def _frames_path(given: Path, name: str, videos: int) -> Path:
    """Return the file or folder of the video `name` in the folder `given`; for a single video, else `given` itself."""
    candidates = [given / name, *(given / f"{name}{suffix}" for suffix in (*VIDEO_SUFFIXES, *IMAGE_SUFFIXES))]
    match = next((path for path in candidates if path.exists()), None)
    if match is None and videos > 1:
        raise UsageError(f"frames={given} has no video {name}; it holds {describe_contents(given)}")
    return match or given


def _names(given: Any) -> dict[int, str]:
    try:
        return {int(object_id): str(name) for object_id, name in (given or {}).items()}
    except (AttributeError, ValueError):
        raise UsageError(f"names={given} is not possible: give them by the objects' ids, names={{1:cup}}") from None


def _project_objects(root: Path) -> tuple[dict[int, str], dict[int, Colour]]:
    """Return the names and colours of the objects of a project, by id; both are empty if `root` is no project."""
    path = root / "project.json"
    if not path.is_file():
        return {}, {}
    try:
        objects = json.loads(path.read_text(encoding="utf-8"))["objects"]
        names = {int(entry["id"]): str(entry["name"]) for entry in objects}
        return names, {int(entry["id"]): ImageColor.getrgb(entry["colour"])[:3] for entry in objects}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UsageError(f"{path} cannot be read as a project: {error!r}") from error
