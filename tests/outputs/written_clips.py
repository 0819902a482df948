"""Clips of random frames and masks, written with a `VideoWriter`."""

import numpy as np

from xmem_infer.config import OutputConfig
from xmem_infer.outputs.protocol import VideoDetails
from xmem_infer.outputs.writer import VideoWriter
from xmem_infer.types import Frame, ObjectConfidence

QUIET = OutputConfig(overlay=False, preview=False)
EVERYTHING = OutputConfig(scores=True)


def frame(index, size, name=None, time_s=None):
    image = np.random.default_rng(index).integers(0, 256, (*size, 3), dtype=np.uint8)
    return Frame(index, f"{index:05d}" if name is None else name, image, time_s)


def confidence(labels, extra=()):
    """Return the confidence of every label of the map, and of the lost objects in `extra`."""
    present = [int(label) for label in np.unique(labels) if label]
    found = {label: ObjectConfidence(int((labels == label).sum()), 0.75, False) for label in present}
    return found | {label: ObjectConfidence(0, 0.0, True) for label in extra}


def write(output_dir, label_maps, video="clip", palette=None, options=QUIET, names=None):
    size = label_maps[0].shape
    with VideoWriter(VideoDetails(output_dir, video, palette, 25.0, len(label_maps)), options) as writer:
        for index, labels in enumerate(label_maps):
            seen = confidence(labels)
            scores = np.stack([labels == label for label in (0, *seen)]).astype(np.float32)
            writer.put(frame(index, size, names and names[index]), labels, seen, scores)


def random_maps(count, size, seed=0):
    return list(np.random.default_rng(seed).integers(0, 256, (count, *size), dtype=np.uint8))


def tree(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}
