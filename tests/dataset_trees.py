"""Small datasets on disk in every layout: JPEG frames, palette PNG masks, lists, meta.json."""

import json

import numpy as np
from omegaconf import OmegaConf
from PIL import Image

from xmem_infer.config import DatasetConfig, EvalConfig, configs_dir
from xmem_infer.io.palette import davis_palette

FRAMES, SIZE = 6, (48, 64)


def eval_config(name, **values):
    """Return the settings of `dataset=NAME` and further keys, with `__` for the dots of the command line."""
    base = OmegaConf.structured(EvalConfig)
    if name is not None:
        base.dataset = DatasetConfig()
        base = OmegaConf.merge(base, OmegaConf.load(configs_dir() / "dataset" / f"{name}.yaml"))
    for key, value in values.items():
        OmegaConf.update(base, key.replace("__", "."), value)
    return OmegaConf.to_object(base)


def save_mask(path, labels):
    path.parent.mkdir(parents=True, exist_ok=True)
    mask = Image.fromarray(labels)
    mask.putpalette(davis_palette())
    mask.save(path)


def labels(path):
    with Image.open(path) as image:
        assert image.mode == "P"
        return np.array(image)


def save_video(make_clip, frames, masks, annotated=None, objects=2, seed=0, size=SIZE, start=0, step=1, count=FRAMES):
    """Write one clip and return its label images; annotated: indices of frames with a mask (None: all)."""
    images, labels = make_clip(count, *size, objects, seed=seed)
    frames.mkdir(parents=True, exist_ok=True)
    for t, image in enumerate(images):
        stem = f"{start + t * step:05d}"
        Image.fromarray(image).save(frames / f"{stem}.jpg", quality=95)
        if annotated is None or t in annotated:
            save_mask(masks / f"{stem}.png", labels[t])
    return labels


def davis(root, make_clip, videos, list_file, *, single=False, annotated=None, levels=(("480p", SIZE),)):
    for level, size in levels:
        for seed, video in enumerate(videos):
            frames, masks = root / "JPEGImages" / level / video, root / "Annotations" / level / video
            labels = save_video(make_clip, frames, masks, annotated, objects=1 if single else 2, seed=seed, size=size)
            if single:
                for path in masks.iterdir():
                    Image.fromarray((labels[int(path.stem)] > 0).astype(np.uint8) * 255).save(path)
    path = root / "ImageSets" / list_file
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(videos) + "\n")
    return root


def ytvos(root, make_clip, videos, split="valid"):
    """Object 1 from the first frame; object 2 from frame 3 on, in a mask whose other pixels are 0.

    Listed frames: 0, 2, 4 (object 1) and 3, 4 (object 2): 1 and 5 are not saved.
    """
    meta = {}
    for seed, video in enumerate(videos):
        frames = root / "all_frames" / f"{split}_all_frames" / "JPEGImages" / video
        masks = root / split / "Annotations" / video
        labels = save_video(make_clip, frames, masks, annotated=(), seed=seed)
        save_mask(masks / "00000.png", labels[0] * (labels[0] == 1))
        save_mask(masks / "00003.png", labels[3] * (labels[3] == 2))
        meta[video] = {"objects": {"1": {"frames": ["00000", "00002", "00004"]}, "2": {"frames": ["00003", "00004"]}}}
    (root / split / "meta.json").write_text(json.dumps({"videos": meta}))
    return root


def folders(root, make_clip, videos, annotated=None):
    for seed, video in enumerate(videos):
        save_video(make_clip, root / "JPEGImages" / video, root / "Annotations" / video, annotated, seed=seed)
    return root
