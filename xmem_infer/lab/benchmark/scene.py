"""The benchmark's synthetic clip: a textured scene that drifts, as arrays or as a video file, and a mask of blocks."""

from pathlib import Path

import av
import numpy as np
import torch
import torch.nn.functional as F

from .workloads import Workload


def drifting_frames(workload: Workload, count: int) -> list[np.ndarray]:
    """Return `count` frames (H, W, 3) uint8 RGB, the same in every run."""
    height, width = workload.height, workload.width
    generator = torch.Generator().manual_seed(0)
    coarse = torch.rand(1, 3, height // 8, width // 8, generator=generator)
    scene = F.interpolate(coarse, (height, width), mode="bilinear")[0]
    pixels = scene.mul(255).round().to(torch.uint8).permute(1, 2, 0).numpy()
    return [np.roll(pixels, (t, 2 * t), (0, 1)) for t in range(count)]


def block_mask(workload: Workload) -> np.ndarray:
    """Return a label image (H, W) uint8 with one block per object, side by side."""
    height, side = workload.height, workload.width // (workload.objects + 1)
    mask = np.zeros((height, workload.width), np.uint8)
    for index in range(workload.objects):
        mask[height // 4 : 3 * height // 4, index * side + side // 4 : index * side + side] = index + 1
    return mask


def write_clip(frames: list[np.ndarray], path: Path) -> None:
    """Write the frames as an H.264 file at 24 frames per second, with pixel format and quality typical of cameras."""
    height, width = frames[0].shape[:2]
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=24, options={"crf": "20", "preset": "fast"})
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        for pixels in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(stream.encode(None))
