"""A small annotated clip on disk, for the tests of this room."""

from PIL import Image


def write_clip(root, make_clip, frames=8, size=(48, 64), objects=2, annotated=True):
    """root/JPEGImages/clip and root/Annotations/clip; returns (images, masks)."""
    images, masks = make_clip(frames, *size, objects, seed=0)
    for folder, pictures in (("JPEGImages", images), ("Annotations", masks if annotated else masks[:1])):
        (root / folder / "clip").mkdir(parents=True)
        for index, picture in enumerate(pictures):
            Image.fromarray(picture).save(root / folder / "clip" / f"{index:05d}.png")
    return images, masks
