import warnings

import numpy as np
import pytest
from image_files import cut, picture, save_frames
from PIL import Image

from xmem_infer.config import DataConfig
from xmem_infer.io.frames import FrameFolder
from xmem_infer.io.images import UnreadableImage, read_header, read_rgb, to_rgb

# Stored corners that are shown clockwise from the top left, by EXIF orientation: EXIF 2.3, 4.6.4
SEEN_FROM_TOP_LEFT = ["abcd", "badc", "cdab", "dcba", "adcb", "dabc", "cbad", "bcda"]


class TestColours:
    def test_sixteen_bits_are_scaled(self, tmp_path):
        values = np.array([[0, 128, 129, 257, 32768, 65278, 65535]], np.uint16)
        for name in ("1.png", "1.tif"):
            Image.fromarray(values).save(tmp_path / name)
            pixels = read_rgb(tmp_path / name, 100)
            assert pixels[0, :, 0].tolist() == [round(int(v) / 257) for v in values[0]]
            assert (pixels == pixels[..., :1]).all()

    @pytest.mark.parametrize("mode", ["1", "L", "P", "LA", "RGBA", "CMYK", "YCbCr"])
    def test_other_modes_become_rgb(self, mode):
        image = Image.fromarray(picture()).convert(mode)
        pixels = to_rgb(image)
        assert pixels.shape == (12, 17, 3)
        assert pixels.dtype == np.uint8
        assert (pixels == np.array(image.convert("RGB"))).all()

    def test_transparency_does_not_change_colours(self):
        colours = picture()
        alpha = picture(1)[..., :1]
        assert (to_rgb(Image.fromarray(np.concatenate([colours, alpha], 2))) == colours).all()

    def test_palette_with_transparency_makes_no_noise(self, tmp_path):
        image = Image.fromarray(picture()).quantize(8)
        image.save(tmp_path / "1.png", transparency=bytes(range(8)))
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            pixels = read_rgb(tmp_path / "1.png", 1000)
        assert (pixels == np.array(image.convert("RGB"))).all()

    @pytest.mark.parametrize("image", [Image.new("F", (3, 3)), Image.new("I", (3, 3), 70_000)])
    def test_values_without_a_range_are_refused(self, image):
        with pytest.raises(UnreadableImage, match="save it with 8 or 16 bits"):
            to_rgb(image)


class TestOrientation:
    @pytest.mark.parametrize("ending", ["jpg", "png", "webp", "tif"])
    @pytest.mark.parametrize("orientation", range(1, 9))
    def test_frames_are_rotated_by_exif_orientation(self, tmp_path, ending, orientation):
        corners = {"a": (0, 0), "b": (0, -1), "c": (-1, -1), "d": (-1, 0)}
        levels = {"a": 10, "b": 90, "c": 170, "d": 250}
        stored = np.zeros((32, 48), np.uint8)
        for corner, (y, x) in corners.items():
            block = (slice(0, 16) if y == 0 else slice(16, 32), slice(0, 24) if x == 0 else slice(24, 48))
            stored[block] = levels[corner]
        exif = Image.Exif()
        exif[0x0112] = orientation
        folder = tmp_path / "clip"
        folder.mkdir()
        for i in (1, 2):
            Image.fromarray(stored).convert("RGB").save(folder / f"{i}.{ending}", exif=exif)
        source = FrameFolder(folder, DataConfig())
        assert source.size == ((32, 48) if orientation < 5 else (48, 32))
        image = next(iter(source)).image
        assert image.shape[:2] == source.size
        for corner, seen in zip("abcd", SEEN_FROM_TOP_LEFT[orientation - 1], strict=True):
            assert abs(int(image[corners[corner]][0]) - levels[seen]) < 12
        if ending != "tif":  # Pillow rotates TIFF images itself
            assert bool(source.warnings) == (orientation != 1)

    def test_headers_are_read_without_decoding(self, tmp_path):
        # Pillow's getexif decodes the whole PNG if it has no EXIF data; the header of half a file is intact.
        save_frames(tmp_path, ["1.png"], 200, 300)
        cut(tmp_path / "1.png", 0.5)
        assert read_header(tmp_path / "1.png", 10**6).size == (200, 300)
