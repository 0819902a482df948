import io
from pathlib import Path

import numpy as np
import pytest
from drawn_masks import DAVIS, LIMIT, blobs, refused, save
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from PIL import Image, ImageDraw, ImageFilter

from xmem_infer.io.masks import read_mask, smoothed_values

SHARED = Path(__file__).resolve().parents[2].parent / "shared"


def smoothed_versions(labels: np.ndarray):
    """Return masks damaged in common ways: resized, compressed, blurred."""
    image = Image.fromarray(labels)
    for scale in (0.4, 0.5, 0.9, 1.5, 2):
        for how in (Image.Resampling.BILINEAR, Image.Resampling.BICUBIC, Image.Resampling.LANCZOS):
            size = (round(image.width * scale), round(image.height * scale))
            yield f"{how.name} {scale}", np.array(image.resize(size, how))
    for quality in (50, 75, 90, 95):
        packed = io.BytesIO()
        image.save(packed, "JPEG", quality=quality)
        yield f"jpeg {quality}", np.array(Image.open(packed))
    for radius in (0.5, 1, 2, 4):
        yield f"blur {radius}", np.array(image.filter(ImageFilter.GaussianBlur(radius)))


def twin(labels: np.ndarray) -> bool:
    """Compute `smoothed_values` pixel by pixel, following its docstring."""
    height, width = labels.shape
    values = labels.tolist()
    edges, slopes, speckles = 0, [], []
    for y in range(height):
        for x in range(width):
            own = values[y][x]

            def at(dy, dx, y=y, x=x):
                inside = 0 <= y + dy < height and 0 <= x + dx < width
                return values[y + dy][x + dx] if inside else None

            around = {(dy, dx): at(dy, dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1) if dy or dx}
            if any(around[d] not in (None, own) for d in ((0, 1), (1, 0), (0, -1), (-1, 0))):
                edges += 1
            pairs = [(around[d], around[-d[0], -d[1]]) for d in ((0, 1), (1, 0))]
            if any(None not in pair and min(pair) < own < max(pair) for pair in pairs):
                slopes.append(own)
            if own not in around.values():
                speckles.append(own)
    edges = max(edges, 1)
    sloped = len(slopes) >= 24 and len(slopes) >= 0.15 * edges and len(set(slopes)) >= 3
    repeated = [v for v in set(speckles) if speckles.count(v) > 1]
    speckled = len(speckles) >= 24 and len(speckles) >= 0.05 * edges and len(repeated) >= 2
    return sloped or speckled


@st.composite
def valid_masks(draw) -> np.ndarray:
    """Draw label images as users would: boxes, lines, discs and dots of any label, also thin and small ones."""
    height, width = draw(st.integers(1, 90)), draw(st.integers(1, 90))
    image = Image.new("L", (width, height))
    painter = ImageDraw.Draw(image)
    point = st.tuples(st.integers(-5, 95), st.integers(-5, 95))
    for _ in range(draw(st.integers(0, 25))):
        kind, label = draw(st.sampled_from(["box", "line", "disc", "dot"])), draw(st.integers(0, 255))
        (x0, y0), (x1, y1) = draw(point), draw(point)
        box = (min(x0, x1), min(y0, y1), max(x0, x1), max(y0, y1))
        if kind == "box":
            painter.rectangle(box, fill=label)
        elif kind == "disc":
            painter.ellipse(box, fill=label)
        elif kind == "line":
            painter.line((x0, y0, x1, y1), fill=label, width=draw(st.integers(1, 3)))
        else:
            painter.point((x0, y0), fill=label)
    return np.array(image)


class TestSmoothedEdges:
    @pytest.mark.parametrize("labels", [(255,), (128,), (60, 120, 180, 240), (40,), (255, 17, 99)])
    @pytest.mark.fault(
        "mask resized with interpolation, blurred or compressed", "error: pixels along edges are not valid labels"
    )
    def test_smoothed_masks_are_refused(self, labels):
        mask = blobs(*labels)
        assert smoothed_values(mask) == 0
        for how, spoilt in smoothed_versions(mask):
            assert smoothed_values(spoilt) >= 2, how

    def test_the_message_counts_the_values(self, tmp_path):
        spoilt = Image.fromarray(blobs(255)).filter(ImageFilter.GaussianBlur(2))
        said = refused(save(tmp_path / "m.png", spoilt), r"smoothed edges: (\d+) grey values")
        assert int(said.split("edges: ")[1].split()[0]) > 50
        assert "thresholding" in said

    def test_suggested_repairs_are_accepted(self):
        spoilt = np.array(Image.fromarray(blobs(255)).resize((300, 200), Image.Resampling.LANCZOS))
        assert smoothed_values(spoilt)
        assert smoothed_values((spoilt > 127).astype(np.uint8)) == 0

    @pytest.mark.parametrize("convert", ["web", "adaptive", "quantised"])
    def test_coloured_picture_turned_into_a_palette_image(self, convert):
        picture = Image.fromarray(DAVIS[blobs(1, 2, 3, 4)]).resize((200, 150), Image.Resampling.BICUBIC)
        image = {
            "web": lambda: picture.convert("P"),
            "adaptive": lambda: picture.convert("P", palette=Image.Palette.ADAPTIVE),
            "quantised": lambda: picture.quantize(32),
        }[convert]()
        assert smoothed_values(np.array(image))

    @settings(max_examples=80)
    @given(valid_masks())
    def test_valid_masks_are_never_refused(self, labels):
        assert smoothed_values(labels) == 0

    @settings(max_examples=25)
    @given(st.data())
    def test_smoothed_values_equals_the_reference(self, data):
        labels = data.draw(valid_masks())
        assume(labels.shape[0] * labels.shape[1] < 3000)
        if data.draw(st.booleans()):
            labels = np.array(Image.fromarray(labels).filter(ImageFilter.GaussianBlur(data.draw(st.floats(0.3, 2)))))
        if data.draw(st.booleans()):
            noise = np.random.default_rng(data.draw(st.integers(0, 99)))
            at = noise.random(labels.shape) < data.draw(st.floats(0, 0.1))
            labels[at] = noise.integers(0, 256, int(at.sum()))
        assert bool(smoothed_values(labels)) == twin(labels)

    def test_many_tiny_objects(self):
        labels = np.zeros((200, 200), np.uint8)
        for i in range(255):  # objects of two by one pixels, each with its own label
            y, x = 3 + 12 * (i // 16), 3 + 12 * (i % 16)
            labels[y, x : x + 2] = i + 1
        assert smoothed_values(labels) == 0
        labels[labels > 0] = 200
        assert smoothed_values(labels) == 0

    def test_outlines_and_single_pixels(self):
        outlined = np.array(Image.fromarray(blobs(2)).filter(ImageFilter.MaxFilter(3))) // 2
        outlined[blobs(2) > 0] = 2  # background 0, a thin outline 1, the inside 2
        assert np.unique(outlined).tolist() == [0, 1, 2]
        assert smoothed_values(outlined) == 0
        dusty = blobs(1, 3)
        dusty[np.random.default_rng(0).random(dusty.shape) < 0.05] = 3
        assert smoothed_values(dusty) == 0


@pytest.mark.skipif(not (SHARED / "data").is_dir(), reason="development data is not on this machine")
class TestReal:
    def annotations(self):
        return sorted((SHARED / "data").glob("*/Annotations/**/*.png"))

    def test_no_real_mask_is_refused(self):
        files = self.annotations()
        assert len(files) > 600
        for file in files[::20]:
            mask = read_mask(file, LIMIT)
            assert mask.ids.ndim == 2
        assert read_mask(files[-1], LIMIT).palette is not None

    def test_every_smoothed_real_mask_is_refused(self):
        for file in self.annotations()[::200]:
            labels = np.array(Image.open(file))
            labels = labels * np.uint8(255 // labels.max())
            for how, spoilt in smoothed_versions(labels):
                assert smoothed_values(spoilt), (file, how)
