"""What a child process is asked to do. Sent as a pickle from the parent, which is trusted."""

from dataclasses import dataclass
from pathlib import Path

from ...config import DataConfig, Device, GradMode, MemoryConfig, Precision


@dataclass(frozen=True)
class SegmentRequest:
    """Segment the first `frames` of a video from a mask (.npy) and report memory and time per frame.

    timed: take times and resident memory; on the CPU tensor memory is counted in a second pass, so that
    counting slows down no clock. masks_to: .npz that takes the masks, None: only their hash is wanted.
    """

    video: Path
    mask: Path
    weights: Path
    frames: int
    grad_mode: GradMode
    precision: Precision
    data: DataConfig
    memory: MemoryConfig
    device: Device
    threads: int | None
    ceiling_bytes: int
    timed: bool = True
    masks_to: Path | None = None


@dataclass(frozen=True)
class LinearRequest:
    """One forward of Linear(features, hidden) - ReLU - Linear(hidden, features) on ones (rows, features)."""

    features: int
    hidden: int
    rows: int
    grad_mode: GradMode
    threads: int | None
    ceiling_bytes: int


@dataclass(frozen=True)
class CreateRequest:
    """Make the network of a checkpoint, or a pile of Linear layers, in one of the ways of creation.CREATORS."""

    what: str
    way: str
    weights: Path
    threads: int | None
    ceiling_bytes: int


Request = SegmentRequest | LinearRequest | CreateRequest
