"""Records of the finished videos in an output folder, which let a re-run skip them, and checks of their results."""

import hashlib
import json
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from PIL import Image

from ..config import EvalConfig
from ..datasets.video_input import VideoInput
from ..errors import UsageError
from ..io.atomic import disk_fault, locked, write_json

CHUNK_BYTES = 1 << 20
SET_BY_NETWORK = ("runtime.precision", "runtime.variant", "runtime.device", "data.antialias", "memory.kind")


@dataclass(frozen=True)
class Record:
    """A finished video and everything that its masks depend on. Records of older versions lack the last two fields."""

    inputs: str  # hash of the input files
    weights: str  # sha256 of the checkpoint
    settings: dict[str, Any]  # those that masks depend on, by key
    frames: int = 0  # number of frames
    origin: dict[str, str] = field(default_factory=dict)  # paths of the inputs, for messages
    outputs: dict[str, int | str] = field(default_factory=dict)  # what `summarize` returned for each output


class Records:
    """The record files in `output_dir/records`."""

    def __init__(self, output_dir: Path):
        self.folder = output_dir / "records"

    def path(self, video: str) -> Path:
        """Return the path of a video's record."""
        return self.folder / f"{video}.json"

    def read(self, video: str) -> Record | None:
        """Return the record of a video, or None if it is missing or unreadable, so that the video is redone."""
        try:
            return Record(**json.loads(self.path(video).read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError):
            return None

    def write(self, video: str, record: Record) -> None:
        """Mark a video as finished. Its outputs must already be in place."""
        write_json(self.path(video), asdict(record))

    def progress_folder(self, video: str) -> Path:
        """Return the folder for the saved progress of an interrupted video."""
        return self.folder / "stopped" / video

    def check_same(self, video: str, wanted: Record) -> None:
        """Refuse to replace results of other inputs, and to mix results of other settings or weights into this folder.

        wanted: Weights and settings that it lacks are not compared.
        """
        existing = self.read(video)
        if existing is None:
            return
        defaults = recorded_settings(EvalConfig())  # for settings that are newer than the record
        pairs = {key: (existing.settings.get(key, defaults.get(key)), now) for key, now in wanted.settings.items()}
        if wanted.weights:
            pairs["weights (sha256)"] = (existing.weights[:12], wanted.weights[:12])
        if existing.inputs != wanted.inputs:
            pairs |= {key: (existing.origin.get(key, "not recorded"), now) for key, now in wanted.origin.items()}
        differing = [f"{key}: {there} there, {now} now" for key, (there, now) in pairs.items() if there != now]
        if existing.inputs != wanted.inputs and existing.origin == wanted.origin:
            differing.append(f"the files of {wanted.origin['video']} or its masks have changed since")
        if differing:
            raise UsageError(
                f"{self.folder.parent} holds results of another run for {video} ({'; '.join(differing)}). "
                "Give another output_dir, or overwrite=true to replace them"
            )


def recorded_settings(config: EvalConfig) -> dict[str, Any]:
    """Return the settings that masks depend on, by key. All results in an output folder have the same."""
    tracking = {"direction": config.direction.name, "references": config.references is not None}
    return tracking | {
        f"{group}.{key}": getattr(value, "name", value)
        for group in ("data", "memory", "runtime", "output", "tta")
        for key, value in asdict(getattr(config, group)).items()
        if (group, key) not in (("runtime", "threads"), ("memory", "save"))
    }


def requested_record(config: EvalConfig, video: VideoInput) -> Record:
    """Return the part of a video's record that is known before the network is loaded.

    It lacks the weights and the settings that are resolved for the network and the device (SET_BY_NETWORK).
    """
    settings = {key: value for key, value in recorded_settings(config).items() if key not in SET_BY_NETWORK}
    if (loaded := config.memory.load) is not None:
        settings["memory.load"] = f"{loaded} (sha256 {str(summarize(Path(loaded)))[:12]})"
    settings["dataset"] = None if config.dataset is None else config.dataset.name
    given = list(video.masks.files.values())
    folder = given[0].parent.absolute() if given else "memory.load"
    masks = str(given[0].absolute()) if len(given) == 1 else f"{len(given)} files in {folder}"
    return Record(video.fingerprint, "", settings, origin={"video": str(video.path.absolute()), "masks": masks})


def check_output_folder(output_dir: Path) -> None:
    """Raise UsageError if the folder holds masks that were not written by a run, or a project of the page."""
    records, masks = output_dir / "records", output_dir / "masks"
    try:
        has_foreign_masks = not records.is_dir() and masks.is_dir() and any(masks.iterdir())
    except OSError as error:
        raise disk_fault(error, output_dir) from error
    if has_foreign_masks:
        raise UsageError(
            f"{masks} holds files that no run of this program recorded; they would be replaced. Give another output_dir"
        )
    if (output_dir / "project.json").is_file():
        raise UsageError(
            f"{output_dir} is a project of the page, whose corrections would be replaced: give another output_dir"
        )


def summarize(path: Path) -> int | str:
    """Return what a record stores about an output: the number of files of a folder, or the sha256 of a file."""
    if path.is_dir():
        return len(_files(path))
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while chunk := file.read(CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()


def find_damage(path: Path, recorded: int | str | None, size: tuple[int, int]) -> str | None:
    """Return a message that says how an output is damaged, or None if it is intact.

    A mask that was corrected by hand is intact: files in a folder are only checked for being readable. `recorded`: what
    `summarize` returned when the output was written, if that is known; `size`: (H, W) px that masks must have.
    """
    name = f"{path.parent.name}/{path.name}"
    if not path.exists():
        return f"{name} is missing"
    try:
        if not path.is_dir():
            changed = recorded != summarize(path) if recorded else path.stat().st_size == 0
            return f"{name} is not as it was written" if changed else None
        files = _files(path)
        if isinstance(recorded, int) and len(files) < recorded:  # more is fine: file managers and editors add files
            return f"{name} holds {len(files)} files of {recorded}"
        broken = [file.name for file in files if not _is_readable(file, size)]
    except OSError as error:
        return f"{name} cannot be read ({error.strerror or error})"
    return f"{name}/{broken[0]} is damaged{f', and {len(broken) - 1} more' * (len(broken) > 1)}" if broken else None


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if not path.name.startswith("."))


def _is_readable(path: Path, size: tuple[int, int]) -> bool:
    """Check a file's checksums, which needs no decoding, and the size of a mask."""
    try:
        if path.suffix == ".npz":
            with zipfile.ZipFile(path) as archive:
                return archive.testzip() is None
        if path.suffix == ".png":
            with Image.open(path) as image:
                image.verify()
                return image.size == size[::-1]
    except Exception:  # Pillow raises many kinds of errors on damaged files
        return False
    return path.stat().st_size > 0


@contextmanager
def locked_output(output_dir: Path) -> Iterator[None]:
    """Create the output folder and lock it; raises EnvironmentFault if another run holds the lock or the disk fails."""
    check_output_folder(output_dir)
    with locked(output_dir / "records", f"another run is writing to {output_dir}", "output_dir"):
        yield
