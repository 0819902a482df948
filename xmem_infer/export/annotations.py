"""Export formats of annotation tools: COCO, YOLO segmentation, CVAT, Label Studio."""

import json
from typing import Any
from xml.etree.ElementTree import Element, ElementTree, SubElement, indent

import numpy as np

from ..errors import EnvironmentFault
from ..io.palette import full_palette
from ..outputs.protocol import Item, VideoDetails
from . import pictures  # noqa: F401  # imported first, so that the most popular formats come first in lists
from .polygons import polygon
from .protocol import EXPORTERS, AnnotationOutput, Exporter

MAX_RUN = 1 << 16  # longest run, in values, of Label Studio's run-length encoding
RUN_BITS = (4, 8, 12, 16)  # the four field widths, in bits, in which it stores the length of a run


class Coco(AnnotationOutput):
    """COCO instances with masks as compressed RLE, readable by pycocotools; `track_id` is the object id."""

    path = "coco/{video}.json"

    def __init__(self, video: VideoDetails) -> None:
        super().__init__(video)
        try:
            from pycocotools import mask
        except ImportError as error:
            raise EnvironmentFault(
                f"format=coco needs pycocotools: `pip install 'xmem-infer[export]'` ({error})"
            ) from error
        self.coder: Any = mask
        self.images: list[dict[str, Any]] = []
        self.annotations: list[dict[str, Any]] = []

    def write(self, item: Item) -> None:
        height, width = item.mask.shape
        image = {"id": len(self.images) + 1, "file_name": self.image_name(item), "width": width, "height": height}
        self.images.append({**image, "frame_id": item.frame.index})
        for object_id, shape in self.shapes(item):
            rle = self.coder.encode(np.asfortranarray(shape))
            self.annotations.append(
                {
                    "id": len(self.annotations) + 1,
                    "image_id": image["id"],
                    "category_id": self.class_of(object_id)[0] + 1,
                    "track_id": object_id,
                    "iscrowd": 0,
                    "area": int(self.coder.area(rle)),
                    "bbox": self.coder.toBbox(rle).tolist(),
                    "segmentation": {"size": [height, width], "counts": rle["counts"].decode("ascii")},
                }
            )

    def finish(self) -> None:
        categories = [{"id": number + 1, "name": name} for name, number in self.classes.items()]
        content = {
            "info": {"description": self.video.name},
            "images": self.images,
            "annotations": self.annotations,
            "categories": categories,
        }
        self.staged.partial.write_text(json.dumps(content), encoding="utf-8")


class Yolo(AnnotationOutput):
    """YOLO segmentation: labels/<frame>.txt with a line `class x y x y ...` per object, and data.yaml with the names.

    Coordinates are fractions of width and height. The format has one polygon per object, so separate parts and
    holes are joined by bridges of zero width, see `polygon`.
    """

    path = "yolo/{video}"

    def write(self, item: Item) -> None:
        folder = self.staged.partial / "labels"
        folder.mkdir(parents=True, exist_ok=True)
        size = np.array(item.mask.shape[::-1])
        lines = []
        for object_id, shape in self.shapes(item):
            points = (polygon(shape) / size).ravel()
            lines.append(" ".join([str(self.class_of(object_id)[0]), *(f"{value:.6g}" for value in points)]))
        text = "".join(f"{line}\n" for line in lines)
        (folder / f"{item.frame.name}.txt").write_text(text, encoding="utf-8")

    def finish(self) -> None:
        names = [f"  {number}: {json.dumps(name, ensure_ascii=False)}" for name, number in self.classes.items()]
        text = "\n".join(["path: .", "train: images", "val: images", "names:", *names, ""])
        (self.staged.partial / "data.yaml").write_text(text, encoding="utf-8")


class Cvat(AnnotationOutput):
    """`CVAT for images 1.1`: masks as RLE within their bounding boxes; `group_id` is the object id.

    CVAT tracks cannot contain masks, so masks are shapes of single frames. In a video task CVAT matches them to
    frames by the number in `id`.
    """

    path = "cvat/{video}.xml"

    def __init__(self, video: VideoDetails) -> None:
        super().__init__(video)
        self.palette = full_palette(video.palette)
        self.root = Element("annotations")
        _add(self.root, "version", "1.1")
        self.task = _add(_add(self.root, "meta"), "task")
        _add(self.task, "name", video.name)
        self.labels = _add(self.task, "labels")

    def write(self, item: Item) -> None:
        height, width = item.mask.shape
        name = self.image_name(item)
        image = _add(self.root, "image", id=item.frame.index, name=name, width=width, height=height)
        for object_id, shape in self.shapes(item):
            number, label = self.class_of(object_id)
            if number == len(self.labels):  # its first object
                colour = self.palette[3 * object_id : 3 * object_id + 3].hex()
                entry = _add(self.labels, "label")
                for tag, text in {"name": label, "color": f"#{colour}", "type": "mask", "attributes": ""}.items():
                    _add(entry, tag, text)
            rows, columns = np.flatnonzero(shape.any(1)), np.flatnonzero(shape.any(0))
            box = shape[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
            place = {"left": columns[0], "top": rows[0], "width": box.shape[1], "height": box.shape[0]}
            rle = ", ".join(map(str, run_lengths(box)))
            _add(image, "mask", label=label, source="file", occluded=0, rle=rle, **place, z_order=0, group_id=object_id)

    def finish(self) -> None:
        _add(self.task, "size", str(len(self.root.findall("image"))))
        _add(self.task, "mode", "annotation")
        indent(self.root)
        ElementTree(self.root).write(self.staged.partial, "utf-8", xml_declaration=True)


def _add(parent: Element, tag: str, text: str | None = None, **attributes: object) -> Element:
    """Add an XML element and return it."""
    element = SubElement(parent, tag, {name: str(value) for name, value in attributes.items()})
    element.text = text
    return element


class LabelStudio(AnnotationOutput):
    """Label Studio tasks with brush masks as predictions, for `BrushLabels` "tag" on an `Image` named "image"."""

    path = "label_studio/{video}.json"

    def __init__(self, video: VideoDetails) -> None:
        super().__init__(video)
        self.tasks = 0

    def write(self, item: Item) -> None:
        height, width = item.mask.shape
        results = []
        for object_id, shape in self.shapes(item):
            value = {"format": "rle", "rle": list(brush_rle(shape)), "brushlabels": [self.class_of(object_id)[1]]}
            results.append(
                {
                    "id": f"{item.frame.name}_{object_id}",
                    "type": "brushlabels",
                    "from_name": "tag",
                    "to_name": "image",
                    "original_width": width,
                    "original_height": height,
                    "image_rotation": 0,
                    "value": value,
                }
            )
        task = {"data": {"image": self.image_name(item)}, "predictions": [{"result": results}]}
        self._append((",\n" if self.tasks else "[\n") + json.dumps(task, separators=(",", ":")))
        self.tasks += 1

    def finish(self) -> None:
        self._append("\n]\n" if self.tasks else "[]\n")

    def _append(self, text: str) -> None:  # at once, because a long video has hundreds of megabytes of masks
        with open(self.staged.partial, "a", encoding="utf-8") as file:
            file.write(text)


def run_lengths(mask: np.ndarray) -> list[int]:
    """Return the run lengths of a binary mask in row-major order, alternating 0 and 1; the first may be 0."""
    flat = mask.ravel()
    ends = np.flatnonzero(np.diff(flat)) + 1
    lengths = np.diff(np.concatenate([[0], ends, [len(flat)]])).tolist()
    return [0, *lengths] if flat[0] else lengths


def brush_rle(mask: np.ndarray) -> bytes:
    """Encode a binary mask as a Label Studio brush: a bit stream of the run lengths of an RGBA image.

    Header: number of values (32 bits; four per pixel), bits per value - 1 (5 bits), and the four RUN_BITS - 1 (4 bits
    each). Then for each run: a 1, the index of its RUN_BITS (2 bits), length - 1, and value (8 bits, 0 or 255).
    """
    fields = [f"{4 * mask.size:032b}", f"{8 - 1:05b}", *(f"{width - 1:04b}" for width in RUN_BITS)]
    for number, pixels in enumerate(run_lengths(mask)):
        remaining = 4 * pixels
        while remaining:
            run = min(remaining, MAX_RUN)
            code = next(i for i, width in enumerate(RUN_BITS) if run <= 1 << width)
            fields.append(f"1{code:02b}{run - 1:0{RUN_BITS[code]}b}{255 * (number % 2):08b}")
            remaining -= run
    text = "".join(fields)
    text += "0" * (-len(text) % 8)
    return int(text, 2).to_bytes(len(text) // 8, "big")


EXPORTERS.register("coco")(Exporter("COCO JSON with RLE", Coco))
EXPORTERS.register("yolo")(Exporter("YOLO segmentation", Yolo))
EXPORTERS.register("cvat")(Exporter("CVAT for images 1.1", Cvat))
EXPORTERS.register("label_studio")(Exporter("Label Studio brushes", LabelStudio))
