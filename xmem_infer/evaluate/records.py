"""Records of the finished videos in an output folder, which let a re-run skip them, and the lock on that folder."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from ..config import EvalConfig
from ..datasets.video_input import VideoInput
from ..errors import UsageError
from ..io.atomic import Staged, disk_fault, locked, write_json
from .intact import summarize

SET_BY_NETWORK = ("runtime.precision", "runtime.variant", "runtime.device", "data.antialias", "memory.kind")


@dataclass(frozen=True)
class Record:
    """A finished video and everything that its masks depend on.

    Attributes:
        inputs: Hash of the input files.
        weights: sha256 of the checkpoint.
        settings: The settings that masks depend on, by key.
        frames: Number of frames.
        origin: Paths of the inputs, for messages. Empty in records of older versions.
        outputs: What `intact.summarize` returned for each output. Empty in records of older versions.
    """

    inputs: str
    weights: str
    settings: dict[str, Any]
    frames: int = 0
    origin: dict[str, str] = field(default_factory=dict)
    outputs: dict[str, int | str] = field(default_factory=dict)


class Records:
    """The record files in `output_dir/records`."""

    def __init__(self, output_dir: Path):
        self.folder = output_dir / "records"

    def read(self, video: str) -> Record | None:
        """Return the record of a video, or None if it is missing or unreadable, so that the video is redone."""
        try:
            return Record(**json.loads((self.folder / f"{video}.json").read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError):
            return None

    def write(self, video: str, record: Record) -> None:
        """Mark a video as finished. Its outputs must already be in place."""
        write_json(self.folder / f"{video}.json", asdict(record))

    def progress_folder(self, video: str) -> Path:
        """Return the folder for the saved progress of an interrupted video."""
        return self.folder / "stopped" / video

    def drop(self, video: str) -> None:
        """Mark a video as unfinished, before its outputs are replaced."""
        (self.folder / f"{video}.json").unlink(missing_ok=True)

    def remove_leftovers(self, video: str) -> None:
        """Remove a partial record left by a process that was killed while writing it."""
        Staged(self.folder / f"{video}.json").discard()

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


@contextmanager
def locked_output(output_dir: Path) -> Iterator[None]:
    """Create the output folder and lock it against other runs.

    Raises:
        EnvironmentFault: Another run holds the lock, or the folder cannot be written to.
        UsageError: See `check_output_folder`.
    """
    check_output_folder(output_dir)
    with locked(output_dir / "records", f"another run is writing to {output_dir}", "output_dir"):
        yield
