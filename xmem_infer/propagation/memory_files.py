"""Memory files: what the network memorised of one video's objects, to track them in another video without a mask."""

import json
from pathlib import Path

from safetensors.torch import load_file, save

from ..engine.state import VideoState
from ..errors import UsageError
from ..io.atomic import write_whole
from ..io.images import size_words
from ..io.memory_header import FORMAT, read_description
from ..ops.images import working_size
from ..predictor import Segmenter


def save_memory(path: str | Path, segmenter: Segmenter, state: VideoState) -> None:
    """Write the memory of a video to a safetensors file, atomically.

    Args:
        path: The file; an existing one is replaced.
        segmenter: The segmenter that produced `state`.
        state: The video's state after any frame in which an object was known.

    Raises:
        UsageError: The memory is empty.
        EnvironmentFault: The file cannot be written.
    """
    if state.frame_size is None:
        raise UsageError("there is no memory to save: no frame has been seen yet")
    tensors = {name: x.contiguous().cpu() for name, x in segmenter.engine.exported(state).items()}
    described = {**_network_of(segmenter), "size": list(state.frame_size), "objects": state.object_ids}
    metadata = {"format": FORMAT, **{name: json.dumps(value) for name, value in described.items()}}
    write_whole(Path(path), lambda to: to.write_bytes(save(tensors, metadata)))


def load_memory(path: str | Path, segmenter: Segmenter, size: tuple[int, int], frozen: bool = False) -> VideoState:
    """Return the state of a video before its first frame, with the objects of a memory file already known.

    Args:
        path: A file written by `save_memory`.
        segmenter: A segmenter with the same network, memory kind and precision as the one that wrote the file.
        size: (H, W) of the video's frames.
        frozen: Whether the memory is only read, so that no frame is added to it.

    Raises:
        UsageError: The file is not a memory file, or was written with another network, precision or working size.
    """
    described = read_description(path)
    current = _network_of(segmenter).items()
    differing = [f"{name} {described[name]} there, {now} now" for name, now in current if described[name] != now]
    if differing:
        raise UsageError(f"the memory {path} was made with another network or settings: {'; '.join(differing)}")
    work = working_size(*size, segmenter.data.size, segmenter.engine.conventions.enlarge)
    stored_size = described["size"][0], described["size"][1]
    if work != stored_size:
        raise UsageError(
            f"the memory {path} is of frames of {size_words(stored_size)} inside the network, those of this video are "
            f"{size_words(work)}: give a video of the same shape, or set data.size"
        )
    return segmenter.engine.recalling(load_file(path), described["objects"], frozen)


def _network_of(segmenter: Segmenter) -> dict[str, str]:
    """Return what a memory file must match: memory kind, precision, sha256 of the weights ("" if unknown)."""
    made = segmenter.prepared
    return {"kind": segmenter.engine.config.kind, "precision": made.precision.name, "weights": segmenter.weights_sha256}
