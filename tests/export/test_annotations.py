"""Annotation formats, each read back by its own library or by a reader written from its documentation."""

import contextlib
import io
import json
import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest
from dataset_trees import save_mask
from omegaconf import OmegaConf
from PIL import Image, ImageDraw

from xmem_infer.export.annotations import brush_rle
from xmem_infer.export.polygons import polygon
from xmem_infer.export.run import export_masks

SIZE = (61, 83)  # H, W
NAMES = {1: 'cup & "saucer"', 2: "hand", 7: "hand"}


@pytest.fixture(scope="module")
def labels():
    """Label images with a ring in two parts, specks, an object that appears late, and an empty frame."""
    drawn = np.zeros((3, *SIZE), np.uint8)
    picture = Image.new("L", SIZE[::-1])
    draw = ImageDraw.Draw(picture)
    draw.ellipse((5, 5, 45, 50), 1)
    draw.ellipse((15, 18, 30, 35), 0)
    draw.rectangle((20, 22, 24, 26), 2)
    draw.rectangle((60, 40, 82, 60), 1)
    draw.point([(0, 0), (82, 0), (1, 1)], 2)
    drawn[0] = np.array(picture)
    drawn[2, 10:30, 3:4], drawn[2, 40:, 40:] = 7, 1
    return drawn


@pytest.fixture(scope="module")
def masks(labels, tmp_path_factory):
    folder = tmp_path_factory.mktemp("masks") / "cup"
    folder.mkdir()
    for index, mask in enumerate(labels):
        save_mask(folder / f"{index:05d}.png", mask)
    return folder


@pytest.fixture
def exported(masks, tmp_path):
    return lambda kind, **options: export_masks(kind, masks, tmp_path, names=NAMES, **options)


def test_coco_is_read_back_by_pycocotools(exported, labels):
    coco_api = pytest.importorskip("pycocotools.coco")
    with contextlib.redirect_stdout(io.StringIO()):
        coco = coco_api.COCO(exported("coco", image_name="{video}/{frame}.png"))
    read = np.zeros_like(labels)
    for annotation in coco.anns.values():
        image = coco.imgs[annotation["image_id"]]
        shape = coco.annToMask(annotation)
        assert annotation["area"] == shape.sum()
        read[image["frame_id"]][shape > 0] = annotation["track_id"]
        assert coco.cats[annotation["category_id"]]["name"] == NAMES[annotation["track_id"]]
    assert np.array_equal(read, labels)
    assert [image["file_name"] for image in coco.imgs.values()] == [f"cup/0000{i}.png" for i in range(3)]
    assert len(coco.cats) == 2


def inside(points, size):
    """Return the pixels inside a polygon by the even-odd rule: an odd number of edges right of the centre."""
    y, x = np.mgrid[: size[0], : size[1]] + 0.5
    crossings = np.zeros(size, int)
    for (x0, y0), (x1, y1) in zip(points, np.roll(points, -1, axis=0), strict=True):
        if y0 != y1:
            crosses = (y0 <= y) != (y1 <= y)
            crossings += crosses & (x < x0 + (y - y0) * (x1 - x0) / (y1 - y0))
    return crossings % 2 == 1


def test_yolo_is_read_back_by_its_rules(exported, labels):
    folder = exported("yolo")
    assert OmegaConf.load(folder / "data.yaml").names == {0: NAMES[1], 1: "hand"}
    for index, mask in enumerate(labels):
        lines = (folder / "labels" / f"{index:05d}.txt").read_text().splitlines()
        ids = [object_id for object_id in np.unique(mask) if object_id]
        assert [int(line.split()[0]) for line in lines] == [0 if object_id == 1 else 1 for object_id in ids]
        for line, object_id in zip(lines, ids, strict=True):
            values = np.array(line.split()[1:], float)
            assert values.min() >= 0 and values.max() <= 1
            read, true = inside(values.reshape(-1, 2) * SIZE[::-1], SIZE), mask == object_id
            assert (read & true).sum() / (read | true).sum() > 0.99


def test_polygons_of_noise_are_nearly_exact():
    rng = np.random.default_rng(0)
    for _ in range(5):
        mask = (rng.random((12, 15)) < 0.5).astype(np.uint8)
        read = inside(polygon(mask), mask.shape)
        assert (read & (mask > 0)).sum() / (read | (mask > 0)).sum() > 0.95


def cvat_masks(path, count):
    """Decode masks as CVAT documents: alternating runs of background and object, row by row inside the box."""
    root = ElementTree.parse(path).getroot()
    read = np.zeros((count, *SIZE), np.uint8)
    for image in root.iter("image"):
        for mask in image.iter("mask"):
            left, top, width, height = (int(mask.get(key)) for key in ("left", "top", "width", "height"))
            runs = [int(run) for run in mask.get("rle").split(",")]
            box = np.repeat(np.arange(len(runs)) % 2, runs).reshape(height, width)
            read[int(image.get("id")), top : top + height, left : left + width][box > 0] = int(mask.get("group_id"))
            assert mask.get("label") == NAMES[int(mask.get("group_id"))]
    return root, read


def test_cvat_is_read_back_as_documented(exported, labels):
    root, read = cvat_masks(exported("cvat"), len(labels))
    assert np.array_equal(read, labels)
    named = {label.find("name").text: label.find("color").text for label in root.iter("label")}
    assert named == {NAMES[1]: "#800000", "hand": "#008000"}


def test_cvat_is_read_back_by_datumaro(exported, labels):
    dataset = pytest.importorskip("datumaro.components.dataset").Dataset
    folder = exported("cvat").parent
    (folder / "images").mkdir()
    for index in range(len(labels)):  # datumaro requires the image files
        Image.new("RGB", SIZE[::-1]).save(folder / "images" / f"{index:05d}.jpg")
    found = dataset.import_from(str(folder), "cvat")
    read = np.zeros_like(labels)
    for item in found:
        for annotation in item.annotations:
            read[item.attributes["frame"]][annotation.image > 0] = annotation.group
    assert np.array_equal(read, labels)


def test_label_studio_is_read_back_by_its_decoder(exported, labels):
    decode_rle = pytest.importorskip("label_studio_brush_rle_rs").decode_rle
    for index, task in enumerate(json.loads(exported("label_studio").read_text())):
        read = np.zeros(SIZE, np.uint8)
        for result in task["predictions"][0]["result"]:
            assert (result["original_height"], result["original_width"]) == SIZE
            pixels = np.asarray(decode_rle(result["value"]["rle"], False), np.uint8).reshape(*SIZE, 4)
            assert (pixels == pixels[..., :1]).all()
            object_id = int(result["id"].split("_")[1])
            assert result["value"]["brushlabels"] == [NAMES[object_id]]
            read[pixels[..., 3] == 255] = object_id
        assert np.array_equal(read, labels[index])
        assert task["data"]["image"] == f"{index:05d}.jpg"


def test_long_brush_runs_are_split():
    decode_rle = pytest.importorskip("label_studio_brush_rle_rs").decode_rle
    mask = np.zeros((300, 400), np.uint8)
    mask[150:290] = 1
    pixels = np.asarray(decode_rle(list(brush_rle(mask)), False), np.uint8).reshape(300, 400, 4)
    assert np.array_equal(pixels[..., 3] // 255, mask)


def test_palette_export_keeps_ids_and_sets_colours(exported, labels):
    folder = exported("palette", colours={1: (1, 2, 3)}, objects=[1, 7])
    for index, mask in enumerate(labels):
        image = Image.open(folder / f"{index:05d}.png")
        assert image.mode == "P"
        assert np.array_equal(np.array(image), mask * np.isin(mask, [1, 7]))
        assert image.getpalette("RGB")[3:6] == [1, 2, 3]
