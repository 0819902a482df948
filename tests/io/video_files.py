"""Small video files, intact and damaged, and their frames as PyAV decodes them."""

from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from xmem_infer.config import DataConfig, OnCorrupt

FAIL, WARN = DataConfig(), DataConfig(on_corrupt=OnCorrupt.warn)
TEXTURE = np.random.default_rng(0).integers(0, 256, (24, 32, 3)).astype(np.uint8).repeat(8, 0).repeat(8, 1)


def scene(index: int, height: int, width: int) -> np.ndarray:
    """Return a moving texture whose brightness encodes the frame index (16 + 3 * index)."""
    moved = np.roll(TEXTURE, (index, 2 * index), (0, 1))[:height, :width] // 8
    return moved + np.uint8(3 * (index % 64))


def make_video(
    path: Path,
    frames: int = 30,
    codec: str = "libx264",
    size: tuple[int, int] = (96, 128),
    pix_fmt: str = "yuv420p",
    options: dict[str, str] | None = None,
    container_options: dict[str, str] | None = None,
    pts: list[int] | None = None,
    start: int = 0,
) -> Path:
    with av.open(str(path), "w", container_options=container_options or {}) as container:
        stream = container.add_stream(codec, rate=25)
        stream.height, stream.width = size
        stream.pix_fmt = pix_fmt
        stream.options = options or {}
        if pts:
            stream.codec_context.time_base = Fraction(1, 1000)
        for i in range(frames):
            picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(scene(i + start, *size)), format="rgb24")
            if pts:
                picture.pts, picture.time_base = pts[i], Fraction(1, 1000)
            container.mux(stream.encode(picture))
        container.mux(stream.encode())
    return path


def packets(path: Path) -> list[tuple[int, int]]:
    """Return (position, size) in the file of each coded frame, in coding order."""
    with av.open(str(path)) as container:
        return [(p.pos, p.size) for p in container.demux(video=0) if p.size]


def damage(path: Path, index: int, first: float = 0.3) -> None:
    """Overwrite a coded frame (index in coding order) with noise, except for its beginning."""
    data = bytearray(path.read_bytes())
    position, size = packets(path)[index]
    begin = position + int(size * first)
    data[begin : position + size] = np.random.default_rng(1).bytes(position + size - begin)
    path.write_bytes(data)


def cut(path: Path, share: float) -> Path:
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    return path


def plain_decode(path: Path) -> list[np.ndarray]:
    """Decode all frames sequentially with PyAV on one thread, as the reference."""
    with av.open(str(path)) as container:
        container.streams.video[0].thread_type = "NONE"
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
