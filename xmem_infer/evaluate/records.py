"""What is finished in an output folder, so that a re-run skips exactly that, and who works in it."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from ..config import EvalConfig
from ..errors import UsageError
from ..io.atomic import Staged, disk_fault, held, write_json


@dataclass(frozen=True)
class Record:
    """A finished video: hash of its input files, of the weights, and the settings its masks depend on.

    origin: where the inputs lay, for messages. outputs: what `intact.described` says of each. Older records lack both.
    """

    inputs: str
    weights: str
    settings: dict[str, Any]
    frames: int = 0
    origin: dict[str, str] = field(default_factory=dict)
    outputs: dict[str, int | str] = field(default_factory=dict)


class Records:
    """The records below `output_dir/records`."""

    def __init__(self, output_dir: Path):
        self.folder = output_dir / "records"

    def read(self, video: str) -> Record | None:
        """The record of a video; None where there is none or it cannot be read, so that it is done again."""
        try:
            return Record(**json.loads((self.folder / f"{video}.json").read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError):
            return None

    def write(self, video: str, record: Record) -> None:
        """Call a video finished; its outputs must have their final names by now."""
        write_json(self.folder / f"{video}.json", asdict(record))

    def stopped(self, video: str) -> Path:
        """Where the beginning of a video is kept that was stopped in the midst of it."""
        return self.folder / "stopped" / video

    def drop(self, video: str) -> None:
        """Call a video unfinished, before its outputs are replaced."""
        (self.folder / f"{video}.json").unlink(missing_ok=True)

    def tidy(self, video: str) -> None:
        """Remove what a process left that was killed while it wrote a record."""
        Staged(self.folder / f"{video}.json").discard()

    def check_same(self, video: str, wanted: Record, defaults: dict[str, Any]) -> None:
        """Refuse to replace results of other inputs, and to mix those of other settings or weights into this folder.

        defaults: what holds for settings that a record does not name, being older than they are.
        """
        found = self.read(video)
        if found is None:
            return
        pairs = {key: (found.settings.get(key, defaults.get(key)), now) for key, now in wanted.settings.items()}
        pairs["weights (sha256)"] = (found.weights[:12], wanted.weights[:12])
        if found.inputs != wanted.inputs:
            pairs |= {key: (found.origin.get(key, "not recorded"), now) for key, now in wanted.origin.items()}
        differing = [f"{key}: {there} there, {now} now" for key, (there, now) in pairs.items() if there != now]
        if found.inputs != wanted.inputs and found.origin == wanted.origin:
            differing.append(f"the files of {wanted.origin['video']} or its masks have changed since")
        if differing:
            raise UsageError(
                f"{self.folder.parent} holds results of another run for {video} ({'; '.join(differing)}). "
                "Give another output_dir, or overwrite=true to replace them"
            )


def recorded_settings(config: EvalConfig) -> dict[str, Any]:
    """The settings that masks depend on, by key; a folder's results are all of the same ones."""
    tracking = {"direction": config.direction.name, "references": config.references is not None}
    return tracking | {
        f"{group}.{key}": getattr(value, "name", value)
        for group in ("data", "memory", "runtime", "output", "tta")
        for key, value in asdict(getattr(config, group)).items()
        if (group, key) not in (("runtime", "threads"), ("memory", "save"))
    }


@contextmanager
def held_output(output_dir: Path) -> Iterator[None]:
    """Make the output folder and hold it: a second run on it is refused, and so are masks of another origin."""
    records, masks = output_dir / "records", output_dir / "masks"
    try:
        foreign = not records.is_dir() and masks.is_dir() and any(masks.iterdir())
    except OSError as error:
        raise disk_fault(error, output_dir) from error
    if foreign:
        raise UsageError(
            f"{masks} holds files that no run of this program recorded; they would be replaced. Give another output_dir"
        )
    if (output_dir / "project.json").is_file():
        raise UsageError(
            f"{output_dir} is a project of the page, whose corrections would be replaced: give another output_dir"
        )
    with held(records, f"another run is writing to {output_dir}", "output_dir"):
        yield
