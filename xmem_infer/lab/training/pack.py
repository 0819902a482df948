"""The training pack, decoded once from its tar file into memory-mapped arrays of pixels."""

import json
import os
import tarfile
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from filelock import FileLock
from PIL import Image

from ...errors import UsageError
from ...io.atomic import write_whole

PERSON_SETS = ("ccp", "ccp_rest")  # labelled with clothing; any label above 0 is the person
CLIPS = ("davis/", "clips/")


@dataclass(frozen=True)
class Region:
    """A labelled region of a picture."""

    label: int
    area: int
    box: tuple[int, int, int, int]  # top, left, bottom, right
    borders: int  # number of picture edges that it touches


@dataclass(frozen=True)
class Picture:
    """Position of a picture in the cache, and its usable regions."""

    source: str  # bsds500, ccp, ccp_rest, coco128seg, davis/<clip> or clips/<clip>
    name: str
    height: int
    width: int
    start: int  # index of its first pixel in the flat cache
    regions: tuple[Region, ...]


class Pack:
    """Decoded pictures: image(i) (H, W, 3) uint8 RGB and labels(i) (H, W) uint8 are views of memory-mapped files.

    A clip that exists in several folders, at different sizes, counts as a separate clip in each.
    """

    def __init__(self, *folders: Path):
        self.pictures: list[Picture] = []
        self.photos: list[int] = []
        self.clips: dict[tuple[int, str], list[int]] = {}  # by index of the folder and source
        self._files: list[tuple[np.ndarray, np.ndarray]] = []  # pixels and labels of its folder, for each picture
        for number, folder in enumerate(folders):
            files = np.load(folder / "pixels.npy", "r"), np.load(folder / "labels.npy", "r")
            for picture in map(_picture, json.loads((folder / "index.json").read_text())):
                is_clip = picture.source.startswith(CLIPS)
                group = self.clips.setdefault((number, picture.source), []) if is_clip else self.photos
                group.append(len(self.pictures))
                self.pictures.append(picture)
                self._files.append(files)

    def image(self, index: int) -> np.ndarray:
        return self._view(0, index)

    def labels(self, index: int) -> np.ndarray:
        return self._view(1, index)

    def _view(self, kind: int, index: int) -> np.ndarray:
        flat, p = self._files[index][kind], self.pictures[index]
        part = flat[p.start : p.start + p.height * p.width]
        return np.asarray(part).reshape(p.height, p.width, *flat.shape[1:])


def check_pack(tar: Path) -> None:
    """Check that `tar` is a complete tar file of pictures with masks, without decoding it. Raises UsageError."""
    if not tar.is_file():
        raise UsageError(f"data_packs: {tar} is no file: give the path of train_240p.tar")
    try:
        with tarfile.open(tar) as archive:
            if not _pairs(archive):
                raise UsageError(f"data_packs: {tar} holds no picture with a mask (<name>.jpg beside <name>.png)")
    except tarfile.ReadError as error:
        raise UsageError(f"data_packs: {tar} is not a complete tar file ({error}): give train_240p.tar") from error


def decode_pack(tar: Path, cache: Path) -> Path:
    """Decode `tar` into a folder in `cache` unless it exists; return the folder. Raises UsageError for other files."""
    check_pack(tar)
    folder = cache / f"{tar.stem}-{tar.stat().st_size}"
    cache.mkdir(parents=True, exist_ok=True)
    with FileLock(cache / f".{folder.name}.lock"):  # two runs may share a cache
        if not folder.is_dir():
            _decode(tar, folder)
    return folder


def _decode(tar: Path, folder: Path) -> None:
    pictures: list[Picture] = []
    pixels, labels, start = [], [], 0
    with tarfile.open(tar) as archive:
        for stem, image_member, mask_member in _pairs(archive):
            image, mask = _read(archive, image_member, "RGB"), _read(archive, mask_member, None)
            if image.shape[:2] != mask.shape:
                raise UsageError(f"{tar}: {image_member.name} has {image.shape[:2]} px (H, W), its mask {mask.shape}")
            source = str(Path(stem).parent).removeprefix("photos/")
            if source in PERSON_SETS or source.startswith(CLIPS):
                mask = (mask > 0).astype(np.uint8)
            height, width = mask.shape
            pictures.append(Picture(source, Path(stem).name, height, width, start, find_regions(mask)))
            pixels.append(image.reshape(-1, 3))
            labels.append(mask.reshape(-1))
            start += mask.size

    def write(partial: Path) -> None:
        partial.mkdir()
        np.save(partial / "pixels.npy", np.concatenate(pixels))
        np.save(partial / "labels.npy", np.concatenate(labels))
        (partial / "index.json").write_text(json.dumps([asdict(picture) for picture in pictures]))

    write_whole(folder, write)


def _pairs(archive: tarfile.TarFile) -> list[tuple[str, tarfile.TarInfo, tarfile.TarInfo]]:
    """Return the pictures that have a mask, sorted by name: name without suffix, picture, mask."""
    members = {member.name: member for member in archive.getmembers() if member.isfile()}
    stems = sorted(os.path.splitext(name)[0] for name in members if name.endswith(".jpg"))
    return [(stem, members[f"{stem}.jpg"], members[f"{stem}.png"]) for stem in stems if f"{stem}.png" in members]


def find_regions(labels: np.ndarray) -> tuple[Region, ...]:
    """Return the regions of a label image that can serve as objects: those that cover 0.5% to 60% of the picture."""
    height, width = labels.shape
    regions = []
    for label in np.unique(labels):
        inside = labels == label
        area = int(inside.sum())
        if label == 0 or not 0.005 * labels.size <= area <= 0.6 * labels.size:
            continue
        rows, columns = np.flatnonzero(inside.any(1)), np.flatnonzero(inside.any(0))
        box = (int(rows[0]), int(columns[0]), int(rows[-1]) + 1, int(columns[-1]) + 1)
        borders = (box[0] == 0) + (box[1] == 0) + (box[2] == height) + (box[3] == width)
        regions.append(Region(int(label), area, box, borders))
    return tuple(regions)


def _read(archive: tarfile.TarFile, member: tarfile.TarInfo, mode: str | None) -> np.ndarray:
    file = archive.extractfile(member)
    assert file is not None, "only plain files are asked for"
    try:
        with Image.open(file) as image:
            return np.asarray(image.convert(mode) if mode else image)
    except OSError as error:
        raise UsageError(
            f"data_packs: {member.name} of {archive.name!r} is damaged ({error}): give train_240p.tar"
        ) from error


def _picture(entry: dict) -> Picture:
    regions = (Region(**{**region, "box": tuple(region["box"])}) for region in entry["regions"])
    return Picture(**{**entry, "regions": tuple(regions)})
