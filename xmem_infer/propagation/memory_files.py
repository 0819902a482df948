"""What a video has taught, in a file: the same objects can be tracked in another video without a mask."""

import json
from pathlib import Path

from safetensors import safe_open
from safetensors.torch import save

from ..engine.state import VideoState
from ..errors import UsageError
from ..io.atomic import write_whole
from ..io.images import size_words
from ..io.memory_header import FORMAT, read_description
from ..ops.images import working_size
from ..predictor import Segmenter


def save_memory(path: str | Path, segmenter: Segmenter, state: VideoState) -> None:
    """Write what a video's state remembers to a safetensors file, whole or not at all.

    Args:
        path: The file; one that is there is replaced.
        segmenter: Whose network the state is of.
        state: After any frame with objects.

    Raises:
        UsageError: Nothing is remembered yet.
        EnvironmentFault: The disk refuses.
    """
    if state.frame_size is None:
        raise UsageError("there is no memory to save: no frame has been seen yet")
    tensors = {name: x.contiguous().cpu() for name, x in segmenter.engine.exported(state).items()}
    described = {**_network_of(segmenter), "size": list(state.frame_size), "objects": state.object_ids}
    metadata = {"format": FORMAT, **{name: json.dumps(value) for name, value in described.items()}}
    write_whole(Path(path), lambda to: to.write_bytes(save(tensors, metadata)))


def load_memory(path: str | Path, segmenter: Segmenter, size: tuple[int, int], frozen: bool = False) -> VideoState:
    """The state of a video before its first frame, in which the objects of a file are known.

    Args:
        path: A file of `save_memory`.
        segmenter: With the network that the memory was made with.
        size: (H, W) of the video's frames.
        frozen: Whether nothing is added to the memory.

    Raises:
        UsageError: The file is none of those, or was made with another network, precision or working size.
    """
    described = read_description(path)
    found = {name: described[name] for name in ("kind", "precision", "weights")}
    wanted = _network_of(segmenter)
    if found != wanted:
        differing = [
            f"{name} {found[name]} there, {wanted[name]} now" for name in wanted if found[name] != wanted[name]
        ]
        raise UsageError(f"the memory {path} was made with another network or settings: {'; '.join(differing)}")
    work = working_size(*size, segmenter.data.size, segmenter.engine.conventions.enlarge)
    there = described["size"][0], described["size"][1]
    if work != there:
        raise UsageError(
            f"the memory {path} is of frames of {size_words(there)} inside the network, those of this video are "
            f"{size_words(work)}: give a video of the same shape, or set data.size"
        )
    with safe_open(path, "pt") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  # no mapping
    return segmenter.engine.recalling(tensors, described["objects"], frozen)


def _network_of(segmenter: Segmenter) -> dict[str, str]:
    """What a memory fits only: the kind of memory, the precision of its numbers, the weights' hash ("": not known)."""
    made = segmenter.prepared
    return {"kind": segmenter.engine.config.kind, "precision": made.precision.name, "weights": segmenter.weights_sha256}
