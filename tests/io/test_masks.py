import io
import os
import struct
import warnings
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from PIL import Image, ImageDraw, ImageFilter

from xmem_infer.errors import UsageError
from xmem_infer.io.masks import as_mask, check_mask, mask_from_array, read_mask
from xmem_infer.io.palette import davis_palette
from xmem_infer.io.smoothing import smoothed_values
from xmem_infer.types import LabelMask

SHARED = Path(__file__).resolve().parents[2].parent / "shared"
LIMIT = 10**6
DAVIS = np.frombuffer(davis_palette(), np.uint8).reshape(256, 3)


def blobs(*labels: int, size: tuple[int, int] = (120, 160)) -> np.ndarray:
    """Return a label image with one ellipse per label, some of them overlapping."""
    image = Image.new("L", size[::-1])
    draw = ImageDraw.Draw(image)
    for i, label in enumerate(labels):
        left, top = 15 + 37 * i % (size[1] - 70), 11 + 23 * i % (size[0] - 60)
        draw.ellipse((left, top, left + 61, top + 44), fill=label)
    return np.array(image)


def save(path: Path, image: Image.Image | np.ndarray, **options) -> Path:
    (image if isinstance(image, Image.Image) else Image.fromarray(image)).save(path, **options)
    return path


def refused(path: Path, match: str) -> str:
    with pytest.raises(UsageError, match=match) as caught:
        read_mask(path, LIMIT)
    assert str(path) in str(caught.value)
    return str(caught.value)


class TestAccepted:
    @pytest.mark.parametrize("ending", ["png", "bmp", "tif", "PNG"])
    def test_greyscale_keeps_its_values(self, tmp_path, ending):
        labels = blobs(3, 7, 255)
        mask = read_mask(save(tmp_path / f"m.{ending}", labels), LIMIT)
        assert (mask.ids == labels).all()
        assert mask.ids.dtype == np.uint8
        assert mask.palette is None
        assert mask.source.endswith(f"m.{ending}")

    def test_black_and_white_is_label_255(self, tmp_path):
        mask = read_mask(save(tmp_path / "m.png", blobs(255)), LIMIT)
        assert np.unique(mask.ids).tolist() == [0, 255]

    def test_one_bit_is_label_1(self, tmp_path):
        labels = blobs(255)
        mask = read_mask(save(tmp_path / "m.png", Image.fromarray(labels).convert("1")), LIMIT)
        assert (mask.ids == (labels > 0)).all()

    def test_palette_keeps_indices_and_colours(self, tmp_path):
        labels = blobs(1, 2, 9)
        image = Image.fromarray(labels)
        image = image.convert("P")
        colours = bytes(np.random.default_rng(0).integers(0, 256, 768).astype(np.uint8))
        image.putpalette(colours)
        mask = read_mask(save(tmp_path / "m.png", image), LIMIT)
        assert (mask.ids == labels).all()
        assert mask.palette == colours

    def test_short_palette_is_filled_up(self, tmp_path):
        image = Image.fromarray(blobs(1)).convert("P")
        image.putpalette([0, 0, 0, 9, 8, 7])
        mask = read_mask(save(tmp_path / "m.png", image), LIMIT)
        assert len(mask.palette) == 768
        assert mask.palette[:6] == bytes([0, 0, 0, 9, 8, 7])

    def test_palette_with_transparent_background(self, tmp_path):
        labels = blobs(1, 2)
        image = Image.fromarray(labels).convert("P")
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            mask = read_mask(save(tmp_path / "m.png", image, transparency=0), LIMIT)
        assert (mask.ids == labels).all()

    def test_rgb_in_davis_colours(self, tmp_path):
        labels = np.arange(256, dtype=np.uint8).reshape(16, 16).repeat(4, 0).repeat(4, 1)
        mask = read_mask(save(tmp_path / "m.png", DAVIS[labels]), LIMIT)
        assert (mask.ids == labels).all()
        assert mask.palette == davis_palette()

    def test_a_mask_without_objects_is_accepted(self, tmp_path):
        assert not read_mask(save(tmp_path / "m.png", np.zeros((4, 5), np.uint8)), LIMIT).ids.any()

    def test_a_png_with_another_suffix(self, tmp_path):
        save(tmp_path / "m.bmp", blobs(1), format="PNG")
        assert read_mask(tmp_path / "m.bmp", LIMIT).ids.any()


class TestRefused:
    @pytest.mark.fault("mask file does not exist", "error names the file")
    def test_missing(self, tmp_path):
        refused(tmp_path / "m.png", "does not exist")
        refused(tmp_path, "is not a file")

    @pytest.mark.fault("mask saved as JPEG", "error: JPEG compression alters labels")
    def test_jpeg(self, tmp_path):
        refused(save(tmp_path / "m.jpg", blobs(255)), "is a JPEG.*save the mask as PNG")
        refused(save(tmp_path / "m.png", blobs(255), format="JPEG"), "is a JPEG")

    @pytest.mark.parametrize("mode", ["RGBA", "LA"])
    def test_half_transparent(self, tmp_path, mode):
        image = Image.fromarray(blobs(1)).convert(mode)
        image.putalpha(Image.fromarray(blobs(128)))
        refused(save(tmp_path / "m.png", image), "half-transparent pixels")

    @pytest.mark.parametrize("mode", ["F", "CMYK"])
    def test_other_modes(self, tmp_path, mode):
        refused(save(tmp_path / "m.tif", Image.fromarray(blobs(1)).convert(mode)), f"pixels of mode {mode}")

    def test_sixteen_bits(self, tmp_path):
        labels = blobs(1, 2).astype(np.uint16)
        refused(save(tmp_path / "n.png", labels * 1000), r"16 bits per pixel \(labels: 2, from 0 to 2000\).*renumber")

    @pytest.mark.fault("mask with 299 labels", "error: at most 255 labels are supported")
    def test_too_many_labels(self, tmp_path):
        labels = np.arange(300, dtype=np.uint16).repeat(40).reshape(100, 120)
        refused(save(tmp_path / "m.png", labels), "has 299 labels, 255 are possible")

    def test_a_photo_in_colour(self, tmp_path):
        blocks = np.random.default_rng(0).integers(0, 256, (20, 20, 3), dtype=np.uint8).repeat(8, 0).repeat(8, 1)
        refused(save(tmp_path / "m.png", blocks), "no mask but a picture.*more than the 255")

    def test_soft_edges_in_colour(self, tmp_path):
        red = Image.fromarray(np.array([[0, 0, 0], [255, 0, 0]], np.uint8)[(blobs(1) > 0).astype(int)])
        refused(save(tmp_path / "m.png", red.resize((90, 70), Image.Resampling.BILINEAR)), "smoothed edges")

    @pytest.mark.parametrize("share", [0.0, 0.1, 0.6, 0.95])
    @pytest.mark.fault("mask file truncated", "error names the file")
    def test_truncated(self, tmp_path, share):
        path = save(tmp_path / "m.png", np.random.default_rng(0).integers(0, 9, (50, 50)).astype(np.uint8))
        path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])
        refused(path, "truncated|damaged|is empty|not a JPEG|cannot be read")

    def test_no_image(self, tmp_path):
        (tmp_path / "m.png").write_text("no image at all, but a text")
        refused(tmp_path / "m.png", "is not a JPEG, PNG")

    @pytest.mark.skipif(os.name == "nt" or os.getuid() == 0, reason="permissions do not bind this user")
    def test_no_permission(self, tmp_path):
        path = save(tmp_path / "m.png", blobs(1))
        path.chmod(0)
        refused(path, "Permission denied")

    @pytest.mark.fault("mask header that declares 90,000 x 90,000 px", "error before memory is allocated")
    def test_decompression_bomb(self, tmp_path):
        def chunk(kind, body):
            return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

        path = tmp_path / "m.png"
        header = chunk(b"IHDR", struct.pack(">IIBBBBB", 90_000, 90_000, 8, 0, 0, 0, 0))
        path.write_bytes(b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", b"") + chunk(b"IEND", b""))
        refused(path, "declares 90000x90000")

    def test_every_error_message_is_distinct(self, tmp_path):
        # The text between the file name and the first full stop must differ between cases.
        grey = blobs(255)
        cases = [
            grey.astype(np.uint16) * 3,
            np.arange(300, dtype=np.uint16).repeat(2).reshape(20, 30),
            np.random.default_rng(0).integers(0, 256, (20, 20, 3), dtype=np.uint8).repeat(8, 0).repeat(8, 1),
            Image.merge("LA", [Image.fromarray(blobs(128))] * 2),
            Image.fromarray(grey).filter(ImageFilter.GaussianBlur(2)),
        ]
        messages = {refused(save(tmp_path / "m.png", case), "m.png").split("m.png ")[1][:14] for case in cases}
        assert len(messages) == len(cases)


class TestSize:
    def mask(self, height, width):
        return LabelMask(np.zeros((height, width), np.uint8), None, "m.png")

    def test_same_size_passes(self):
        check_mask(self.mask(48, 85), (48, 85))

    @pytest.mark.parametrize(
        ("found", "hint"), [((85, 48), "turned by 90"), ((96, 170), "nearest neighbour"), ((50, 50), "pixel for pixel")]
    )
    @pytest.mark.fault("mask size differs from the video size", "error states both sizes and a hint: {hint}")
    def test_both_sizes_are_named_and_a_hint_is_given(self, found, hint):
        with pytest.raises(UsageError, match=rf"m\.png is {found[1]}x{found[0]}, the video is 85x48; .*{hint}"):
            check_mask(self.mask(*found), (48, 85))

    def test_where(self):
        with pytest.raises(UsageError, match="the video clip is 2x2"):
            check_mask(self.mask(3, 3), (2, 2), "the video clip")


class TestArrays:
    @pytest.mark.parametrize("kind", [np.uint8, np.int64, np.uint16, np.int8])
    def test_integers(self, kind):
        labels = blobs(1, 2, 100)
        mask = mask_from_array(labels.astype(kind))
        assert mask.ids.dtype == np.uint8
        assert (mask.ids == labels).all()

    def test_bools_are_label_1(self):
        assert (mask_from_array(blobs(9) > 0).ids == (blobs(9) > 0)).all()

    def test_the_array_of_the_caller_is_copied(self):
        labels = blobs(1)
        mask = mask_from_array(labels)
        labels[:] = 7
        assert 7 not in mask.ids

    @pytest.mark.parametrize(
        "bad", [np.zeros((3, 3)), np.zeros((3, 3, 1), np.uint8), np.zeros(3, int), np.zeros((0, 3), int)]
    )
    @pytest.mark.fault("mask array of the wrong shape or type", "error states the shape and type received")
    def test_wrong_shape_or_type(self, bad):
        with pytest.raises(UsageError, match=r"got shape \(.*type"):
            mask_from_array(bad)

    @pytest.mark.parametrize("bad", [None, {"first": "mask.png"}])
    @pytest.mark.fault(
        "`mask=None` or another object that is not a mask", "error states what was received and what is accepted"
    )
    def test_no_mask_at_all(self, bad):
        with pytest.raises(UsageError, match=r"a mask is a file, an array, .* got (None|\{)"):
            as_mask(bad, 100)

    @pytest.mark.fault("mask array with values below 0 or above 255", "error states the range of the values")
    def test_wrong_values(self):
        with pytest.raises(UsageError, match="from -1 to 3; renumber"):
            mask_from_array(np.array([[-1, 3]]))
        with pytest.raises(UsageError, match="from 0 to 299; it has 300 different ones"):
            mask_from_array(np.arange(300).reshape(10, 30))

    def test_smoothed(self):
        with pytest.raises(UsageError, match="the mask array has smoothed edges"):
            mask_from_array(np.array(Image.fromarray(blobs(255)).resize((90, 70), Image.Resampling.BILINEAR)))

    def test_palette(self):
        assert mask_from_array(blobs(1), b"\0\0\0\1\1\1").palette[:6] == b"\0\0\0\1\1\1"


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
