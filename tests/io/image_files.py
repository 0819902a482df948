"""Folders of small image files as frames."""

from pathlib import Path

import numpy as np
from PIL import Image

from xmem_infer.config import DataConfig, OnCorrupt

WARN = DataConfig(on_corrupt=OnCorrupt.warn)


def picture(seed: int = 0, height: int = 12, width: int = 17) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3)).astype(np.uint8)


def save_frames(folder: Path, names: list[str], height: int = 12, width: int = 17) -> Path:
    folder.mkdir(exist_ok=True)
    for seed, name in enumerate(names):
        Image.fromarray(picture(seed, height, width)).save(folder / name)
    return folder


def cut(path: Path, share: float) -> None:
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
